"""What a worker counts, as plain data that any exporter can read."""

import threading
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

_DELAY_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 30.0)
_STEP_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Histogram:
    """counts: one for each bound, of what is at most that and above the one before, and one for what is above all."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float = 0.0

    @classmethod
    def empty(cls, bounds_s: tuple[float, ...]) -> "Histogram":
        return cls(bounds_s, (0,) * (len(bounds_s) + 1))

    @property
    def n(self) -> int:
        return sum(self.counts)

    def with_values(self, values_s: Iterable[float]) -> "Histogram":
        """Return a histogram that holds these too."""
        counts, sum_s = list(self.counts), self.sum_s
        for value in values_s:
            counts[bisect_left(self.bounds_s, value)] += 1
            sum_s += value
        return Histogram(self.bounds_s, tuple(counts), sum_s)


@dataclass(frozen=True)
class Metrics:
    """Sums since the worker was made; `sessions_open` and `waiting_audio_s` are of this moment.

    audio_s: taken from all sessions, silence included. compute_s: spent in the engine. dropped_s: audio never heard.
    queue_delay: how long audio that was due waited for its turn. inference, step: what a call of the engine and a
    step of its decoder took. word_delay: from the moment that a word had arrived to that of its event.
    """

    sessions_open: int = 0
    sessions_opened: int = 0
    sessions_refused: int = 0
    sessions_failed: int = 0
    waiting_audio_s: float = 0.0
    audio_s: float = 0.0
    compute_s: float = 0.0
    dropped_s: float = 0.0
    words: int = 0
    queue_delay: Histogram = field(default_factory=lambda: Histogram.empty(_DELAY_BOUNDS_S))
    inference: Histogram = field(default_factory=lambda: Histogram.empty(_DELAY_BOUNDS_S))
    step: Histogram = field(default_factory=lambda: Histogram.empty(_STEP_BOUNDS_S))
    word_delay: Histogram = field(default_factory=lambda: Histogram.empty(_DELAY_BOUNDS_S))


class Meter:
    """Sums up; any thread may add and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics = Metrics()

    def add(
        self,
        *,
        opened: int = 0,
        refused: int = 0,
        failed: int = 0,
        audio_s: float = 0.0,
        dropped_s: float = 0.0,
    ) -> None:
        with self._lock:
            now = self._metrics
            self._metrics = replace(
                now,
                sessions_opened=now.sessions_opened + opened,
                sessions_refused=now.sessions_refused + refused,
                sessions_failed=now.sessions_failed + failed,
                audio_s=now.audio_s + audio_s,
                dropped_s=now.dropped_s + dropped_s,
            )

    def add_inference(
        self, *, queue_delay_s: float, inference_s: float, step_s: Iterable[float], word_delays_s: list[float]
    ) -> None:
        with self._lock:
            now = self._metrics
            self._metrics = replace(
                now,
                compute_s=now.compute_s + inference_s,
                words=now.words + len(word_delays_s),
                queue_delay=now.queue_delay.with_values([queue_delay_s]),
                inference=now.inference.with_values([inference_s]),
                step=now.step.with_values(step_s),
                word_delay=now.word_delay.with_values(word_delays_s),
            )

    def read(self, *, sessions_open: int, waiting_audio_s: float) -> Metrics:
        with self._lock:
            return replace(self._metrics, sessions_open=sessions_open, waiting_audio_s=waiting_audio_s)
