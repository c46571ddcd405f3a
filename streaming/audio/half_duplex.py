"""A microphone that is not listened to while a voice sounds, so that the voice does not come back as input. Pure.

Silence takes the place of what it picks up then: nothing of it is kept, since it cannot be told from the voice; and the
times of what follows stay right.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE

# The room goes on sounding, and devices tell late: of the microphone as of the loudspeaker.
AFTER_S = 0.5


@dataclass(frozen=True)
class PassedOver:
    """The audio between these times was not listened to, because the voice sounded."""

    from_s: float
    to_s: float


class HalfDuplex:
    """after_s: for how long after the voice nothing is listened to."""

    def __init__(self, after_s: float = AFTER_S) -> None:
        self._after_s = after_s
        self._end_sample = 0
        self._deaf_from: int | None = None

    def feed(
        self, samples: NDArray[np.float32], now_s: float, sounds_until_s: float
    ) -> tuple[NDArray[np.float32], PassedOver | None]:
        """Return the samples or silence in their place; and, once it is over, what was passed over.

        samples: float32 (n,) mono 16 kHz, picked up until now. sounds_until_s: until when the voice sounds, or last
        sounded; by the same clock. A piece that may have the voice in any part of it is passed over as a whole.
        """
        if not len(samples):
            return samples, None
        is_deaf = sounds_until_s + self._after_s > now_s - len(samples) / SAMPLE_RATE
        passed = None if is_deaf else self.end()
        if is_deaf and self._deaf_from is None:
            self._deaf_from = self._end_sample
        self._end_sample += len(samples)
        return (np.zeros_like(samples) if is_deaf else samples), passed

    def end(self) -> PassedOver | None:
        """Nothing follows: return what was passed over and not told yet."""
        start, self._deaf_from = self._deaf_from, None
        return None if start is None else PassedOver(start / SAMPLE_RATE, self._end_sample / SAMPLE_RATE)
