"""A recording heard as if it were spoken now: as a `Capture`, with an end."""

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, SimulWhisperError
from streaming.audio.capture import CaptureEvent, Heard


class PacedRecording:
    """name: what it is called. chunks: float32 (n,) mono 16 kHz each, n > 0. It begins with the first `read`."""

    def __init__(
        self,
        name: str,
        chunks: Iterator[NDArray[np.float32]],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._chunks, self._clock, self._sleep = chunks, clock, sleep
        self._started_s: float | None = None
        self._next: NDArray[np.float32] | None = None
        self._n_samples = 0
        self.is_over = False
        # Why it was over before its end; None where it was not.
        self.error: SimulWhisperError | None = None

    def read(self, timeout_s: float) -> list[CaptureEvent]:
        """Return what was spoken since, at most one chunk; wait at most so long for it."""
        if self._started_s is None:
            self._started_s = self._clock()
        chunk = self._next if self._next is not None else self._read()
        if chunk is None:
            return []
        wait_s = self._started_s + (self._n_samples + len(chunk)) / SAMPLE_RATE - self._clock()
        self._sleep(max(0.0, min(wait_s, timeout_s)))
        if wait_s > timeout_s:
            self._next = chunk
            return []
        self._next = None
        self._n_samples += len(chunk)
        return [Heard(chunk)]

    def end(self) -> list[CaptureEvent]:
        """No more is read."""
        self.is_over = True
        return []

    def _read(self) -> NDArray[np.float32] | None:
        try:
            chunk = next(self._chunks, None)
        except SimulWhisperError as error:
            self.error, chunk = error, None
        self.is_over = chunk is None
        return chunk
