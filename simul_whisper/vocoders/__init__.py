"""Vocoders: the features of a voice in, a waveform out. One file per backend; `choice` picks one."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

VocoderFeatures = NDArray[np.float32]
"""What a voice hands to its vocoder: float32 (n_frames, n_features), opaque to everyone else."""


class AudioVocoder(Protocol):
    """One method, a name and a rate."""

    @property
    def description(self) -> str:
        """What runs where, for people: "mlx (float32, cpu)"."""
        ...

    @property
    def rate(self) -> int:
        """Samples per second."""
        ...

    def decode(self, features: VocoderFeatures) -> NDArray[np.float32]:
        """Return float32 (n_frames * hop,) in [-1, 1].

        Raises ShapeConversionError for features of another shape, and VocoderError.
        """
        ...


__all__ = ["AudioVocoder", "VocoderFeatures"]
