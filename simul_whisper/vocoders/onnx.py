"""The vocoder in ONNX Runtime, as it stands in the voice's file: the reference for all others."""

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import VocoderError, VocoderNotLoadedError
from simul_whisper.foreign_files import one_line
from simul_whisper.onnx_session import open_session
from simul_whisper.vocoders import VocoderFeatures
from simul_whisper.vocoders.hifigan import HifiGan
from simul_whisper.vocoders.pieces import checked, in_pieces
from simul_whisper.vocoders.voice_file import FEATURES, SAMPLES


class OnnxVocoder:
    """A voice's vocoder on the CPU.

    vocoder: its sizes. model: `SplitVoice.reference`. Raises VocoderNotLoadedError when ONNX Runtime refuses it.
    """

    def __init__(self, vocoder: HifiGan, model: bytes) -> None:
        try:
            self._session = open_session(model)
        except Exception as error:
            raise VocoderNotLoadedError(f"ONNX Runtime does not take the vocoder: {one_line(error)}") from error
        self._vocoder = vocoder
        self.rate, self.description = vocoder.rate, "onnx (float32, cpu)"

    def decode(self, features: VocoderFeatures) -> NDArray[np.float32]:
        return in_pieces(self._decode, checked(features, self._vocoder), self._vocoder)

    def _decode(self, features: VocoderFeatures) -> NDArray[np.float32]:
        given = np.ascontiguousarray(features.T[None])
        try:
            (samples,) = self._session.run([SAMPLES], {FEATURES: given})
        except Exception as error:
            raise VocoderError(f"ONNX Runtime failed on {len(features)} frames: {one_line(error)}") from error
        found: NDArray[np.float32] = samples.reshape(-1)
        return found
