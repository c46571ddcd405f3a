"""Where the time of a call goes."""

import time
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds spent by stage; `step_s` holds one entry per decoder step, `windows` counts decoding passes."""

    mel_s: float = 0.0
    encode_s: float = 0.0
    prefill_s: float = 0.0
    step_s: tuple[float, ...] = ()
    total_s: float = 0.0
    windows: int = 0

    @classmethod
    def sum_of(cls, timings: Iterable["Timing"]) -> "Timing":
        parts = list(timings)
        return cls(
            sum(part.mel_s for part in parts),
            sum(part.encode_s for part in parts),
            sum(part.prefill_s for part in parts),
            tuple(step for part in parts for step in part.step_s),
            sum(part.total_s for part in parts),
            sum(part.windows for part in parts),
        )


class Stopwatch:
    """Measures laps and the whole."""

    def __init__(self) -> None:
        self._started = self._lap = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.perf_counter()
        elapsed, self._lap = now - self._lap, now
        return elapsed

    def total(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._started
