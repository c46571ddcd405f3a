"""What a server allows: its settings, and how often an address may connect."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from simul_whisper import check_options, option

_MOST_ADDRESSES = 10_000


@dataclass(frozen=True)
class Limits:
    """Each a field, a default and a flag. Raises ConfigError for impossible values."""

    max_message: int = option(1 << 20, "bytes of one message", low=1024)
    max_connections: int = option(164, "open connections that have said hello", low=1)
    max_waiting: int = option(
        256,
        "open connections that have not said hello, as those that load the page; one more makes room for itself",
        low=8,
    )
    connections_per_address: int = option(64, "open connections from one address", low=1)
    sessions_per_address: int = option(8, "sessions from one address that are not over", low=1)
    connections_per_minute: int = option(
        120, "connections a minute from one address that want a session, or nothing; they may all come at once", low=1
    )
    head_s: float = option(10.0, "seconds within which a connection must have asked for something", low=0.1)
    hello_s: float = option(10.0, "seconds within which a connection must say hello", low=0.1)
    idle_s: float = option(60.0, "seconds without a message after which a session is ended", low=0.1)
    total_s: float = option(4 * 3600.0, "seconds after which a session is ended", low=1)
    stall_s: float = option(
        60.0, "seconds that a client waits for room for its audio before the session is ended", low=0.1
    )
    slow_reader_s: float = option(20.0, "seconds that a client may leave its events unread", low=0.1)
    resume_s: float = option(30.0, "seconds that a session waits for its client after the connection is lost", low=0)
    max_upload: int = option(
        25 << 20, "bytes of an uploaded recording, which is held in memory until it is decoded", low=1024
    )
    max_uploads: int = option(16, "recordings that are uploaded and decoded at a time", low=1)
    uploads_per_address: int = option(4, "recordings that are uploaded and decoded at a time, from one address", low=1)
    upload_s: float = option(300.0, "seconds within which a recording must have been uploaded", low=0.1)
    max_spoken: int = option(2, "texts of /v1/audio/speech that are spoken at a time", low=1)
    spoken_per_address: int = option(2, "texts of /v1/audio/speech that are spoken at a time, from one address", low=1)
    drain_s: float = option(20.0, "seconds that running sessions may go on when the server is stopped", low=0)

    def __post_init__(self) -> None:
        check_options(self)


class RateLimiter:
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

    def give_back(self, address: str) -> None:
        """Forget that an address was let through once."""
        if address in self._left:
            left, counted_at = self._left[address]
            self._left[address] = (min(self._per_minute, left + 1), counted_at)
