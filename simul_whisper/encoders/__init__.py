"""Audio encoders: mel in, features out. One file per backend; `choice` picks one."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simul_whisper.mel import Mel

Features = NDArray[np.float32]
"""What an encoder hands to the decoder: float32 (n_frames, n_audio_state), opaque to everyone else."""

MOST_TOGETHER = 8
"""Of windows that a GPU encodes, or reads, together: more of them wait for each other longer than that saves."""


class AudioEncoder(Protocol):
    """One method and a name."""

    @property
    def description(self) -> str:
        """What runs where, for people: "ctranslate2 (int8, cpu)"."""
        ...

    def encode(self, mel: Mel) -> Features:
        """Return one feature vector per frame of `mel`, padding included."""
        ...


@runtime_checkable
class BatchingEncoder(Protocol):
    """An encoder that encodes several windows of one length in less time than one after the other."""

    @property
    def most_together(self) -> int:
        """How many, at present; 1 where that does not pay."""
        ...

    def encode_together(self, mels: Sequence[Mel]) -> list[Features]:
        """As `encode`, for each."""
        ...


__all__ = ["MOST_TOGETHER", "AudioEncoder", "BatchingEncoder", "Features"]
