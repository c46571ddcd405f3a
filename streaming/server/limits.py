"""What a server allows: its settings, and how often an address may connect."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from simul_whisper import ConfigError

_MOST_ADDRESSES = 10_000


def _limit(default: Any, help_text: str, low: float) -> Any:
    return field(default=default, metadata={"help": help_text, "low": low})


@dataclass(frozen=True)
class Limits:
    """Each a field, a default and a flag. Raises ConfigError for impossible values."""

    max_sessions: int = _limit(16, "sessions open at once, those that wait for a client to come back included", 1)
    max_message: int = _limit(1 << 20, "bytes of one message", 1024)
    connections_per_minute: int = _limit(120, "connections from one address; as many may come at once", 1)
    hello_s: float = _limit(10.0, "seconds until a connection must have said hello", 0.1)
    idle_s: float = _limit(60.0, "seconds without any message, after which a session is ended", 0.1)
    total_s: float = _limit(4 * 3600.0, "seconds after which a session is ended", 1)
    stall_s: float = _limit(60.0, "seconds that a client is kept waiting for room for its audio", 0.1)
    slow_reader_s: float = _limit(20.0, "seconds that a client may leave its events unread", 0.1)
    resume_s: float = _limit(30.0, "seconds that a session outlives a lost connection", 0)
    drain_s: float = _limit(20.0, "seconds that running sessions have to end when the server is stopped", 0)

    def __post_init__(self) -> None:
        for each in fields(self):
            value, low = getattr(self, each.name), each.metadata["low"]
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= low:
                raise ConfigError(f"got {each.name} = {value!r}, expected at least {low:g}")


class Turnstile:
    """Lets an address through so many times a minute: a bucket that fills again as time goes by.

    clock: monotonic seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute, self._clock = per_minute, clock
        # Address -> what is left, and when it was counted; the one that came last stands last.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def lets_through(self, address: str) -> bool:
        now = self._clock()
        left, counted_at = self._left.pop(address, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - counted_at) * self._per_minute / 60)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _MOST_ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1
