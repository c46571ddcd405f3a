"""The vocoder as a Core ML model of one length: pieces of features that overlap, so that the result is the whole's."""

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.description import Description
from simul_whisper.coreml.interface import FEATURES, INSIDE, SAMPLES
from simul_whisper.coreml.runtime import CoreMLModel
from simul_whisper.errors import (
    CoreMLInferenceError,
    ShapeConversionError,
    UnsupportedSampleRateError,
    VocoderNotLoadedError,
)
from simul_whisper.vocoders import VocoderFeatures
from simul_whisper.vocoders.hifigan import HifiGan
from simul_whisper.vocoders.pieces import checked, in_pieces

# Ours take 63 of a voice like `joe`; each prediction allocates all of them.
_MOST_FRAMES = 1 << 14


class CoreMLVocoder:
    """A voice's vocoder in Core ML.

    model: what predicts. description: what it takes and returns. vocoder: of the voice. Raises as `frames_of` does.
    """

    def __init__(
        self, model: CoreMLModel, description: Description, vocoder: HifiGan, compute_units: str = "ALL"
    ) -> None:
        self._model, self._vocoder = model, vocoder
        self._n_frames = frames_of(description, vocoder)
        self.rate, self.description = vocoder.rate, f"coreml ({description.numbers}, {compute_units})"

    def decode(self, features: VocoderFeatures) -> NDArray[np.float32]:
        """Raises ShapeConversionError for features of another shape, CoreMLInferenceError when Core ML fails."""
        n_useful = self._n_frames - 2 * self._vocoder.reach_frames
        return in_pieces(self._decode, checked(features, self._vocoder), self._vocoder, n_useful)

    def _decode(self, features: VocoderFeatures) -> NDArray[np.float32]:
        """features: of no more frames than the program takes; what is missing is filled up."""
        n_frames, n_features = features.shape
        filled = np.zeros((1, n_features, 1, self._n_frames), np.float32)
        filled[0, :, 0, :n_frames] = features.T
        inside = np.zeros((1, 1, 1, self._n_frames), np.float32)
        inside[..., :n_frames] = 1
        try:
            answer = self._model.predict({FEATURES: filled, INSIDE: inside})
        # What coremltools raises is documented nowhere.
        except Exception as error:
            raise CoreMLInferenceError(f"Core ML failed on {n_frames} frames: {error}") from error
        found = answer[SAMPLES] if SAMPLES in answer else np.zeros(0)
        expected = (1, 1, 1, self._n_frames * self._vocoder.hop)
        if found.shape != expected:
            raise ShapeConversionError(f"output {SAMPLES} of the Core ML vocoder", expected, found.shape)
        samples = found.reshape(-1)[: n_frames * self._vocoder.hop].astype(np.float32)
        if not np.isfinite(samples).all():
            raise CoreMLInferenceError("Core ML returned samples that are NaN or infinite")
        return samples


def frames_of(description: Description, vocoder: HifiGan) -> int:
    """Return how many frames a package takes at once.

    Raises VocoderNotLoadedError unless it is a vocoder for features of this voice, UnsupportedSampleRateError for one
    of another rate.
    """
    source, given = description.path, {each.name: each for each in description.inputs}
    if set(given) != {FEATURES, INSIDE} or SAMPLES not in {each.name for each in description.outputs}:
        raise VocoderNotLoadedError(
            f"{source}: not a vocoder: got inputs {', '.join(given)}, expected {FEATURES} and {INSIDE}; make one with: "
            "simul-whisper coreml convert VOICE.onnx --part vocoder"
        )
    said = description.metadata.get("sample_rate", str(vocoder.rate))
    if said != str(vocoder.rate):
        raise UnsupportedSampleRateError(f"{source}: got a vocoder of {said} Hz, expected {vocoder.rate}, the voice's")
    least, shape = 2 * vocoder.reach_frames + 1, given[FEATURES].shapes[0] if given[FEATURES].shapes else ()
    is_known = len(shape) == 4 and shape == (1, vocoder.n_features, 1, shape[3])
    is_known = is_known and least <= shape[3] <= _MOST_FRAMES
    if not is_known or given[INSIDE].shapes[:1] != ((1, 1, 1, shape[3]),):
        raise VocoderNotLoadedError(
            f"{source}: belongs to another voice: got features of {given[FEATURES].accepted}, expected "
            f"(1, {vocoder.n_features}, 1, {least} to {_MOST_FRAMES})"
        )
    return shape[3]
