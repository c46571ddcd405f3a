"""Samples, the only clock: its units, and the check at the border through which all audio enters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import AudioFormatError

SAMPLE_RATE = 16_000
SAMPLES_PER_HOP = 160
SAMPLES_PER_FRAME = 320
MAX_WINDOW_S = 30
MAX_WINDOW_SAMPLES = MAX_WINDOW_S * SAMPLE_RATE

# Sums of mixed channels and lossy codecs overshoot full scale a little; raw integers do so by thousands.
_MAX_AMPLITUDE = 16.0
# Of 16-bit integers.
_FULL_SCALE = np.float32(32_768)

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class AudioChunk:
    """A contiguous piece of a stream.

    samples: float32 (n,), mono, 16 kHz, in [-1, 1].
    start_sample: position of the first sample, counted from the start of the stream.
    """

    samples: Samples
    start_sample: int

    @property
    def end_sample(self) -> int:
        return self.start_sample + len(self.samples)


def as_samples(audio: Any) -> Samples:
    """Return `audio` as float32 (n,) after checking that it can be mono samples in [-1, 1].

    Raises AudioFormatError for integers, more than one dimension, NaN or infinity, or a scale that is not [-1, 1].
    """
    array = np.asarray(audio)
    if array.size == 0 and array.ndim <= 1:
        return np.zeros(0, np.float32)
    if array.dtype.kind != "f":
        raise AudioFormatError(
            f"got samples of type {array.dtype}, expected float32 in [-1, 1]; divide 16-bit integers by 32768"
        )
    if array.ndim != 1:
        raise AudioFormatError(f"got samples of shape {array.shape}, expected (n,): one channel; mix down first")
    peak = float(np.abs(array).max())
    if not np.isfinite(peak):
        raise AudioFormatError("got NaN or infinite samples, expected finite values in [-1, 1]")
    if peak > _MAX_AMPLITUDE:
        raise AudioFormatError(f"got samples up to {peak:g}, expected [-1, 1]; divide 16-bit integers by 32768")
    return np.ascontiguousarray(array, np.float32)


def as_s16(samples: Samples) -> NDArray[np.int16]:
    """Return float32 (n,) in [-1, 1] as 16-bit integers; what lies beyond is clipped, and what is no number is silence.

    `from_s16` of these bytes gives samples that differ by half a step at most.
    """
    scaled = np.round(np.nan_to_num(np.clip(samples, -1, 1)) * _FULL_SCALE)
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")


def from_s16(data: bytes | bytearray | memoryview) -> Samples:
    """Return 16-bit integers in little endian as float32 (n,) in [-1, 1)."""
    return np.frombuffer(data, "<i2").astype(np.float32) / _FULL_SCALE
