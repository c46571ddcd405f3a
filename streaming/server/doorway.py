"""Open connections, whatever they speak: how many there are, where they come from, and who goes when others come.

Who has said hello has a place; all others wait. A newcomer is always let in, and when too many wait, one goes: of those
that come from where most come from, the one that has waited longest. So those that say nothing keep out nobody, and
`/health` is answered however many they are. No I/O.
"""

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Iterable

from streaming.server.limits import Limits, RateLimiter

# The owner of one IPv6 address has as many of these as they like.
_IPV6_PREFIX = 64


class Caller:
    """One open connection. network: where it comes from.

    is_over_rate: more came from there in the last minute than are allowed. is_answered: it reads an answer, and is not
    the first to go. end: closes it at once.
    """

    def __init__(self, doorway: "Doorway", network: str, end: Callable[[], None]) -> None:
        self._doorway, self.network, self.end = doorway, network, end
        self.is_over_rate = self._is_charged = self.is_gone = self.is_answered = False

    def comes_from(self, address: str) -> None:
        """It came through a proxy, which tells the address."""
        network = network_of(address)
        if network != self.network:
            was_charged = self._is_charged
            self.forgive()
            self._doorway.move(self, network)
            if was_charged:
                self.charge()

    def charge(self) -> None:
        """Count it against the rate of where it comes from, once, or again after it was forgiven."""
        if not self._is_charged:
            self.is_over_rate, self._is_charged = not self._doorway.rate.lets_through(self.network), True

    def forgive(self) -> None:
        """It has asked for something short, which is not counted."""
        if self._is_charged and not self.is_over_rate:
            self._doorway.rate.give_back(self.network)
        self._is_charged = False

    def is_here(self) -> None:
        """It has got on: among those that wait it is the one that will be closed last."""
        self._doorway.wait(self)

    def take_place(self) -> bool:
        """Whether there was a place for it."""
        return self._doorway.seat(self)

    def free_place(self) -> None:
        """It is being closed, which may take a while."""
        self._doorway.unseat(self)

    def leave(self) -> None:
        """It is closed, or as good as closed. May be told more than once."""
        self._doorway.leave(self)


class Doorway:
    """The open connections of one port. clock: monotonic seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self.rate = RateLimiter(limits.connections_per_minute, clock)
        # By network; who has waited longest stands first.
        self._waiting_from: dict[str, dict[Caller, None]] = {}
        self.n_waiting = 0
        self._seated: set[Caller] = set()
        self._n_seated_from: Counter[str] = Counter()
        # Why connections were closed before they had asked for anything.
        self.turned_away: Counter[str] = Counter()

    def enter(self, address: str, end: Callable[[], None]) -> Caller:
        """A connection is open; others may be closed for it."""
        caller = Caller(self, network_of(address), end)
        caller.charge()
        self._make_room(caller.network)
        self.wait(caller)
        return caller

    def wait(self, caller: Caller) -> None:
        """Put a connection that has no place behind all others that wait."""
        if not caller.is_gone and caller not in self._seated:
            self._forget_waiting(caller)
            self._waiting_from.setdefault(caller.network, {})[caller] = None
            self.n_waiting += 1

    def move(self, caller: Caller, network: str) -> None:
        """It comes from elsewhere than was thought."""
        self._forget_waiting(caller)
        caller.network = network
        self._make_room(network)
        self.wait(caller)

    def seat(self, caller: Caller) -> bool:
        """Give a connection that waits a place, if there is one."""
        if caller in self._seated:
            return True
        is_full = len(self._seated) >= self._limits.max_connections
        if caller.is_gone or is_full or self._n_seated_from[caller.network] >= self._limits.connections_per_address:
            return False
        self._forget_waiting(caller)
        self._seated.add(caller)
        self._n_seated_from[caller.network] += 1
        return True

    def unseat(self, caller: Caller) -> None:
        """Let a connection that has a place wait again."""
        if caller in self._seated:
            self._seated.remove(caller)
            self._n_seated_from[caller.network] -= 1
            if not self._n_seated_from[caller.network]:
                del self._n_seated_from[caller.network]
            if not caller.is_gone:
                self._make_room(caller.network)
                self.wait(caller)

    def leave(self, caller: Caller) -> None:
        caller.is_gone = True
        self._forget_waiting(caller)
        self.unseat(caller)

    def _make_room(self, network: str) -> None:
        """Close one of the network if it has too many; else, if all are too many, one of where most come from."""
        n_from = self._n_seated_from[network] + len(self._waiting_from.get(network, ()))
        if n_from >= self._limits.connections_per_address and self._waiting_from.get(network):
            self._turn_away(_first_to_go(self._waiting_from[network]))
        elif self.n_waiting >= self._limits.max_waiting:
            crowd = max(self._waiting_from.values(), key=lambda waiting: len(waiting))
            self._turn_away(_first_to_go(crowd))

    def _turn_away(self, caller: Caller) -> None:
        self.leave(caller)
        self.turned_away["room"] += 1
        caller.end()

    def _forget_waiting(self, caller: Caller) -> None:
        neighbours = self._waiting_from.get(caller.network, {})
        if caller in neighbours:
            del neighbours[caller]
            self.n_waiting -= 1
            if not neighbours:
                del self._waiting_from[caller.network]


def _first_to_go(waiting: Iterable[Caller]) -> Caller:
    """Return who has waited longest; of those that read an answer, only if all do."""
    return next((caller for caller in waiting if not caller.is_answered), None) or next(iter(waiting))


def network_of(address: str) -> str:
    """Return what is counted as one: an IPv4 address, or the network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
