"""The listener's end of a session that replicas decode, and what the thread of a line has of it."""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streaming.cluster.line import Abandon, Command, Report
from streaming.cluster.relayed import RelayedSession
from streaming.events import Event, Failed, Recognised
from streaming.sessions.event_log import EventLog


class RelayedHandle:
    """A `SessionHandle`. homeless_since: on the pool's clock, when it last had no replica; the pool keeps it."""

    def __init__(self, session: RelayedSession, now_s: float) -> None:
        self._session, self._lock = session, threading.Lock()
        self._log = EventLog()
        self._log.add_writer()
        self._has_end = self._is_abandoned = False
        self.homeless_since = now_s

    @property
    def log(self) -> EventLog:
        return self._log

    def submit(self, samples: NDArray[np.float32], *, drop_oldest: bool = False) -> int:
        with self._lock:
            if self._log.is_over:
                # Audio is passed over from now on.
                self._session.drain()
            return self._session.submit(samples, drop_oldest=drop_oldest)

    def skip(self, n_samples: int) -> bool:
        with self._lock:
            return self._session.skip(n_samples)

    def flush(self) -> None:
        with self._lock:
            self._session.flush()

    def clear(self, n_samples: int = 0) -> None:
        with self._lock:
            self._session.clear(n_samples)

    def choose_targets(self, targets: Sequence[str]) -> None:
        with self._lock:
            self._session.choose_targets(tuple(targets))

    def end(self, failed: Failed | None = None) -> None:
        with self._lock:
            self._session.end()
        if failed:
            self._log.end_with(failed)

    def begin_anew(self, again_s: float) -> None:
        """Nothing is to be said of it: how late audio is counts at the replicas."""

    # The pool's end

    def drain(self) -> None:
        """Take no more audio; what was taken will be heard."""
        with self._lock:
            self._session.drain()

    def fail(self, failed: Failed) -> None:
        """End the session with this, unless it is over."""
        with self._lock:
            self._tell([failed])

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to recognise."""
        return self._has_end or self._log.is_over

    @property
    def waiting_samples(self) -> int:
        """How much audio waits to be taken by a replica."""
        with self._lock:
            return self._session.waiting_samples

    # The line's end

    @property
    def has_left(self) -> bool:
        """Whether the replica has the session no more."""
        return self._has_end or self._is_abandoned

    @property
    def name(self) -> str:
        """That of the session at the present replica."""
        return self._session.name

    def commands(self) -> list[Command]:
        """Return what is to be said to the replica; `answered` follows, or `lost`."""
        with self._lock:
            if self.is_over:
                self._is_abandoned = True
                return [Abandon(self._session.name)]
            return self._session.commands()

    def answered(self, name: str, report: Report | None) -> bool:
        """Tell what the replica has told of the session of that name; return whether it has to go elsewhere."""
        with self._lock:
            if name != self._session.name or self.is_over:
                return False
            heard = self._session.answered(report)
            self._tell(heard.events)
        return heard.is_lost and not self.is_over

    def lost(self) -> float:
        """Begin anew with another replica; return how many seconds will be heard again."""
        with self._lock:
            told, again_s = self._session.lost()
            self._tell(told)
        return again_s

    def _tell(self, events: Sequence[Event]) -> None:
        """Write what is new; it is done under the lock, so that nothing overtakes it."""
        if not events or self.is_over:
            return
        self._has_end = any(isinstance(event, Recognised) for event in events)
        self._log.append(events)
        if self._has_end:
            self._log.finish()
