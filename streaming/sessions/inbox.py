"""What one listener has submitted and inference has not taken yet: audio, marks where it is to be flushed or ended, and
the languages it is to be translated into.

Memory is fixed, nothing waits, and any thread may use it.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, as_samples
from streaming.audio.ring import RingBuffer
from streaming.sessions.session import SessionEndedError

# Arrivals are remembered no finer than this.
_MARK_SAMPLES = 320
# A listener may be ahead of real time by so much: what was said before it connected, or while it was away.
_MOST_AHEAD_S, _MOST_AWAY_S = 3.0, 30.0
# Audio that comes a little faster than it was spoken, by another clock or to catch up, is no backlog.
_TOLERATED_PACE = 1.1
# Of flushes that wait, the oldest beyond these are covered by the ones after them.
_MAX_FLUSHES = 64


@dataclass(frozen=True)
class Pulled:
    """Audio for the inference thread, after `n_lost` samples that are gone.

    n_cleared: before that, so many samples are given up, and what was pulled earlier too; None: nothing is.
    is_flush: all up to here is to be decoded to its end. is_end: nothing follows.
    """

    samples: NDArray[np.float32]
    n_lost: int
    n_cleared: int | None
    is_flush: bool
    is_end: bool


class AudioInbox:
    """clock: monotonic seconds; it measures how long audio waits and how fast it comes."""

    def __init__(self, capacity_samples: int, clock: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._ring = RingBuffer(capacity_samples)
        self._clock = clock
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=2 * capacity_samples // _MARK_SAMPLES + 2)
        self._flushes: deque[int] = deque(maxlen=_MAX_FLUSHES)
        self._pulled_sample = 0
        self._clear_at: int | None = None
        self._chosen: tuple[str, ...] | None = None
        self._is_ended = self._is_draining = False
        self._opened_at = self._paced_at = clock()
        self._ahead_s = 0.0
        # Of a session that was lost elsewhere: how much of what comes was spoken before it was opened.
        self._again_samples = 0

    # The listener's end

    def submit(self, samples: NDArray[np.float32], *, drop_oldest: bool) -> int:
        """As `SessionHandle.submit`; while draining, audio is passed over."""
        checked = as_samples(samples)
        with self._lock:
            self._check_open("audio")
            if self._is_draining:
                return len(checked)
            taken = checked if drop_oldest else checked[: self._ring.room]
            self._ring.write(taken)
            self._note_arrival()
            self._ahead_s = self._paced() + len(taken) / SAMPLE_RATE
            return len(taken)

    def begin_anew(self, again_s: float) -> None:
        """As `SessionHandle.begin_anew`."""
        with self._lock:
            self._again_samples = round(again_s * SAMPLE_RATE)
            self._opened_at -= again_s
            self._ahead_s -= again_s

    def flush(self) -> None:
        with self._lock:
            self._check_open("a flush")
            if not self._flushes or self._flushes[-1] != self._ring.end_sample:
                self._flushes.append(self._ring.end_sample)

    def clear(self, n_samples: int = 0) -> None:
        """Give up what waits, and the next `n_samples`, which will not come."""
        with self._lock:
            if n_samples:
                self._ring.skip(n_samples)
            self._clear_at = self._ring.end_sample

    def skip(self, n_samples: int) -> bool:
        """As `SessionHandle.skip`."""
        with self._lock:
            self._check_open("audio")
            if len(self._ring) or self._flushes or self._clear_at is not None:
                return False
            self._ring.skip(n_samples)
            return True

    def choose_targets(self, targets: tuple[str, ...]) -> None:
        with self._lock:
            self._chosen = targets

    def end(self) -> None:
        with self._lock:
            self._check_open("an end")
            self._is_ended = True

    def drain(self) -> None:
        """Take no more audio; what was taken will be heard."""
        with self._lock:
            self._is_draining = True

    def _check_open(self, what: str) -> None:
        if self._is_ended:
            raise SessionEndedError(f"{what} came after the end of the session; open a new one")

    # The inference thread's end

    def pull(self, most_samples: int) -> Pulled | None:
        """Return the oldest audio, at most so much; None when there is nothing new."""
        with self._lock:
            n_cleared = self._give_up()
            start, end = max(self._pulled_sample, self._ring.start_sample), self._ring.end_sample
            stop = min(end, start + most_samples, *(max(start, each) for each in self._flushes))
            is_end = (self._is_ended or self._is_draining) and stop == end
            is_flush = bool(self._flushes) and self._flushes[0] <= stop
            if stop == self._pulled_sample and not is_end and not is_flush and n_cleared is None:
                return None
            while self._flushes and self._flushes[0] <= stop:
                self._flushes.popleft()
            samples, n_lost = self._ring.read(start, stop), start - self._pulled_sample
            self._ring.release(stop)
            self._pulled_sample = stop
            return Pulled(samples, n_lost, n_cleared, is_flush, is_end)

    def _give_up(self) -> int | None:
        """Skip what came before the last clear, if there was one since the last pull; return how many samples."""
        clear_at, self._clear_at = self._clear_at, None
        if clear_at is None:
            return None
        n_cleared = clear_at - self._pulled_sample
        self._pulled_sample = clear_at
        return n_cleared

    def chosen_targets(self) -> tuple[str, ...] | None:
        """Return the targets that were chosen last, once; None when they stay as they are."""
        with self._lock:
            chosen, self._chosen = self._chosen, None
            return chosen

    @property
    def wants_clear(self) -> bool:
        """Whether what waits is to be given up."""
        return self._clear_at is not None

    def arrived_at(self, sample: int) -> float:
        """Return when the audio before `sample` had arrived, on the clock. Ask for later and later samples."""
        with self._lock:
            while len(self._arrivals) > 1 and self._arrivals[0][0] < sample:
                self._arrivals.popleft()
            return self._arrivals[0][1] if self._arrivals else self._opened_at

    @property
    def waiting_samples(self) -> int:
        """How much audio waits to be pulled."""
        with self._lock:
            return len(self._ring)

    @property
    def has_news(self) -> bool:
        """Whether there is something to pull."""
        with self._lock:
            is_waiting = self._ring.end_sample > self._pulled_sample or bool(self._flushes)
            return is_waiting or self._is_ended or self._is_draining or self._clear_at is not None

    @property
    def is_again(self) -> bool:
        """Whether the session was lost elsewhere, and goes on here."""
        return self._again_samples > 0

    @property
    def is_backlog(self) -> bool:
        """Whether the audio has lately come so much faster than it was spoken that nobody can be listening to it."""
        with self._lock:
            return self._paced() > _MOST_AHEAD_S

    def _paced(self) -> float:
        """Return how far the audio is ahead of being spoken, in seconds: a bucket that runs out as time goes by."""
        now = self._clock()
        elapsed_s, self._paced_at = now - self._paced_at, now
        self._ahead_s = max(-_MOST_AWAY_S, self._ahead_s - _TOLERATED_PACE * elapsed_s)
        return self._ahead_s

    def _note_arrival(self) -> None:
        end = self._ring.end_sample
        arrival = (end, self._clock() if end > self._again_samples else self._opened_at + end / SAMPLE_RATE)
        if len(self._arrivals) > 1 and arrival[0] - self._arrivals[-2][0] < _MARK_SAMPLES:
            self._arrivals.pop()
        self._arrivals.append(arrival)
