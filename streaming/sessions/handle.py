"""The listener's end of a session that a thread of this process decodes, and what that thread has of it.

Audio goes one way, through an inbox, and events come back, through the log; memory is fixed both ways.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from streaming.events import Event, Failed, Recognised
from streaming.sessions.event_log import EventLog
from streaming.sessions.inbox import AudioInbox


class ThreadHandle:
    """A `SessionHandle`. wake: tells the inference thread that there is something."""

    def __init__(self, inbox: AudioInbox, wake: Callable[[], None]) -> None:
        self._inbox, self._wake = inbox, wake
        self._log = EventLog()
        self._log.add_writer()

    @property
    def log(self) -> EventLog:
        return self._log

    def submit(self, samples: NDArray[np.float32], *, drop_oldest: bool = False) -> int:
        if self._log.is_over:
            # Audio is passed over from now on.
            self._inbox.drain()
        n_taken = self._inbox.submit(samples, drop_oldest=drop_oldest)
        self._wake()
        return n_taken

    def flush(self) -> None:
        self._inbox.flush()
        self._wake()

    def clear(self, n_samples: int = 0) -> None:
        self._inbox.clear(n_samples)
        self._wake()

    def skip(self, n_samples: int) -> bool:
        has_skipped = self._inbox.skip(n_samples)
        self._wake()
        return has_skipped

    def choose_targets(self, targets: Sequence[str]) -> None:
        self._inbox.choose_targets(tuple(targets))

    def end(self, failed: Failed | None = None) -> None:
        self._inbox.end()
        if failed:
            self._log.end_with(failed)
        self._wake()

    def begin_anew(self, again_s: float) -> None:
        self._inbox.begin_anew(again_s)

    # The inference thread's end

    def tell(self, events: Iterable[Event]) -> None:
        """Write what was recognised; after `Recognised`, recognition has no more to say."""
        told = list(events)
        self._log.append(told)
        if any(isinstance(event, Recognised) for event in told):
            self._log.finish()
