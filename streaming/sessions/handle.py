"""What stands between one listener's threads and the inference thread: audio one way, events the other.

Any thread may use the listener's end, and nothing there waits for inference. Memory is fixed both ways.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simul_whisper import as_samples
from streaming.audio.ring import RingBuffer
from streaming.events import Draft, Ended, Event, Failed
from streaming.sessions.session import SessionEndedError

logger = logging.getLogger(__name__)

# Arrivals are remembered no finer than this.
_MARK_SAMPLES = 320
# Of flushes that wait, the oldest beyond these are covered by the ones after them.
_MAX_FLUSHES = 64
MAX_EVENTS = 10_000


@dataclass(frozen=True)
class Pulled:
    """Audio for the inference thread, after `n_lost` samples that are gone.

    is_flush: the listener wants all up to here decoded to its end. is_end: nothing follows.
    """

    samples: NDArray[np.float32]
    n_lost: int
    is_flush: bool
    is_end: bool


class SessionHandle:
    """The listener's end: submit audio, collect events.

    wake: tells the inference thread that there is something. notify: tells the listener, from the inference thread,
    that there are events or that there is room again; it must neither block nor raise.
    """

    def __init__(
        self, capacity_samples: int, clock: Callable[[], float], wake: Callable[[], None], notify: Callable[[], None]
    ) -> None:
        self._changed = threading.Condition()
        self._ring = RingBuffer(capacity_samples)
        self._clock, self._wake, self._notify = clock, wake, notify
        self._marks: deque[tuple[int, float]] = deque(maxlen=2 * capacity_samples // _MARK_SAMPLES + 2)
        self._events: deque[Event] = deque()
        self._flushes: deque[int] = deque(maxlen=_MAX_FLUSHES)
        self._pulled_sample = 0
        self._is_ended = self._is_draining = self._is_over = self._is_closed = False
        self._was_full = self._has_failed = False
        self._opened_at = clock()

    # The listener's end

    def submit(self, samples: NDArray[np.float32], *, drop_oldest: bool = False) -> int:
        """Hand over float32 (n,) mono 16 kHz; return how many samples were taken: fewer than n means "I am full".

        Offer the rest again after `notify`, or when events have come. With `drop_oldest`, for devices that cannot
        wait, all are taken, and audio that nobody has heard may be lost for it; an event will say which.
        After the session is over, audio is passed over: its last event says why. Raises AudioFormatError, which
        changes nothing, and SessionEndedError after `end`.
        """
        checked = as_samples(samples)
        with self._changed:
            if self._is_ended:
                raise SessionEndedError("got audio after the end, expected a new session")
            if self.is_over or self._is_draining:
                return len(checked)
            taken = checked if drop_oldest else checked[: self._ring.room]
            self._ring.write(taken)
            self._was_full = len(taken) < len(checked)
            self._mark()
        self._wake()
        return len(taken)

    def flush(self) -> None:
        """Decode what was submitted to its end; a `Flushed` event follows. Raises SessionEndedError after `end`."""
        with self._changed:
            if self._is_ended:
                raise SessionEndedError("got a flush after the end, expected a new session")
            if not self._flushes or self._flushes[-1] != self._ring.end_sample:
                self._flushes.append(self._ring.end_sample)
        self._wake()

    def end(self) -> None:
        """Nothing follows; the rest will be decoded, and the last event is `Ended`. Raises SessionEndedError twice."""
        with self._changed:
            if self._is_ended:
                raise SessionEndedError("got an end after the end, expected a new session")
            self._is_ended = True
        self._wake()

    def close(self) -> None:
        """Nobody listens any more: give up what is not decoded yet. May be called at any time, and again."""
        with self._changed:
            self._is_closed = True
            self._events.clear()
        self._wake()

    def events(self, timeout_s: float = 0.0) -> list[Event]:
        """Return the events since the last call, in order; with a timeout, wait so long for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self.is_over, timeout_s)
            events = list(self._events)
            self._events.clear()
            return events

    @property
    def is_over(self) -> bool:
        """Whether the last event, `Ended` or `Failed`, has been given out or waits to be collected; or it is closed."""
        return self._is_over or self._is_closed

    @property
    def has_failed(self) -> bool:
        """Whether the last event is `Failed`."""
        return self._has_failed

    # The inference thread's end

    def pull(self, most_samples: int) -> Pulled | None:
        """Return the oldest audio, at most so much; None when there is nothing new."""
        with self._changed:
            start, end = self._ring.start_sample, self._ring.end_sample
            stop = min(end, start + most_samples, *(max(start, each) for each in self._flushes))
            is_end = (self._is_ended or self._is_draining) and stop == end
            is_flush = bool(self._flushes) and self._flushes[0] <= stop
            if stop == self._pulled_sample and not is_end and not is_flush:
                return None
            while self._flushes and self._flushes[0] <= stop:
                self._flushes.popleft()
            samples, n_lost = self._ring.read(start, stop), start - self._pulled_sample
            self._ring.release(stop)
            self._pulled_sample = stop
            was_full, self._was_full = self._was_full, False
        if was_full:
            self._tell()
        return Pulled(samples, n_lost, is_flush, is_end)

    def put(self, events: Iterable[Event]) -> None:
        """Hand over events, and tell the listener."""
        with self._changed:
            if self.is_over:
                return
            for event in events:
                if isinstance(event, Draft) and self._events and isinstance(self._events[-1], Draft):
                    self._events.pop()
                self._events.append(event)
            if len(self._events) > MAX_EVENTS:
                self._events.append(Failed("slow_reader", f"got {MAX_EVENTS} events that nobody collected"))
            last = self._events[-1] if self._events else None
            self._has_failed, self._is_over = isinstance(last, Failed), isinstance(last, Ended | Failed)
            self._changed.notify_all()
        self._tell()

    def _tell(self) -> None:
        try:
            self._notify()
        except Exception:
            logger.exception("a listener cannot be told; it is given up")
            self.close()

    def drain(self) -> None:
        """Take no more audio; what was taken will be heard."""
        with self._changed:
            self._is_draining = True
        self._wake()

    def arrived_at(self, sample: int) -> float:
        """Return when the audio before `sample` had arrived, on the clock. Ask for later and later samples."""
        with self._changed:
            while len(self._marks) > 1 and self._marks[0][0] < sample:
                self._marks.popleft()
            return self._marks[0][1] if self._marks else self._opened_at

    @property
    def waiting_samples(self) -> int:
        """How much audio waits to be pulled."""
        with self._changed:
            return len(self._ring)

    def _mark(self) -> None:
        mark = (self._ring.end_sample, self._clock())
        if len(self._marks) > 1 and mark[0] - self._marks[-2][0] < _MARK_SAMPLES:
            self._marks.pop()
        self._marks.append(mark)
