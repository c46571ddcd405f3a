"""Audio encoders: mel in, features out. One file per backend; `choice` picks one."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper.mel import Mel

Features = NDArray[np.float32]
"""What an encoder hands to the decoder: float32 (n_frames, n_audio_state), opaque to everyone else."""


class AudioEncoder(Protocol):
    """One method and a name."""

    @property
    def description(self) -> str:
        """What runs where, for people: "ctranslate2 (int8, cpu)"."""
        ...

    def encode(self, mel: Mel) -> Features:
        """Return one feature vector per frame of `mel`, padding included."""
        ...


__all__ = ["AudioEncoder", "Features"]
