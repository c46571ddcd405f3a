"""Features of any length in pieces of bounded length: each with as much around it as its samples depend on."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import ShapeConversionError, VocoderError
from simul_whisper.vocoders import VocoderFeatures
from simul_whisper.vocoders.hifigan import HifiGan

PIECE_FRAMES = 256
"""3 s of most voices: what lies around a piece is then a tenth of the work."""


def checked(features: VocoderFeatures, vocoder: HifiGan) -> VocoderFeatures:
    """Return features as float32. Raises ShapeConversionError for another shape, VocoderError for what is no number."""
    if features.ndim != 2 or features.shape[1] != vocoder.n_features:
        n_frames = features.shape[0] if features.ndim else 0
        raise ShapeConversionError("features for the vocoder", (n_frames, vocoder.n_features), features.shape)
    if not np.isfinite(features).all():
        raise VocoderError("got features that are NaN or infinite, expected numbers")
    return features.astype(np.float32, copy=False)


def in_pieces(
    decode: Callable[[VocoderFeatures], NDArray[np.float32]],
    features: VocoderFeatures,
    vocoder: HifiGan,
    piece_frames: int = PIECE_FRAMES,
) -> NDArray[np.float32]:
    """Return the samples of all features, float32 (n_frames * hop,).

    decode: gives those of any number of frames but none. Raises ShapeConversionError when it gives others, VocoderError
    when they are no numbers.
    """
    n_frames, hop, reach = len(features), vocoder.hop, vocoder.reach_frames
    samples = np.empty(n_frames * hop, np.float32)
    for start in range(0, n_frames, piece_frames):
        end = min(start + piece_frames, n_frames)
        first, last = max(0, start - reach), min(end + reach, n_frames)
        found = decode(features[first:last])
        if found.shape != ((last - first) * hop,):
            raise ShapeConversionError("samples of the vocoder", ((last - first) * hop,), found.shape)
        # Numbers of few bits may overflow.
        if not np.isfinite(found).all():
            raise VocoderError("the vocoder returned samples that are NaN or infinite")
        samples[start * hop : end * hop] = found[(start - first) * hop : (end - first) * hop]
    return samples
