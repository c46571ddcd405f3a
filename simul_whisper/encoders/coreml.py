"""The encoder as a Core ML model: ours, whisper.cpp's or WhisperKit's, told apart by what they say of themselves."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.description import Description, Feature
from simul_whisper.coreml.runtime import CoreMLModel
from simul_whisper.encoders import Features
from simul_whisper.errors import CoreMLInferenceError, EncoderNotLoadedError, ShapeConversionError
from simul_whisper.mel import HOPS_PER_FRAME, Mel, silence_in
from simul_whisper.weights.model import Dims

# (1, n_mels, n_hops) -> (1, n_frames, n_audio_state); with four dimensions (1, n_mels, 1, n_hops) -> (1, n_audio_state,
# 1, n_frames), as WhisperKit has it.
_CHANNELS_LAST, _CHANNELS_FIRST = 3, 4
_KNOWN_NAMES = ("logmel_data", "output", "melspectrogram_features", "encoder_output_embeds")


class CoreMLEncoder:
    """Whisper's encoder in Core ML.

    model: what predicts. description: what it takes and returns. dims: of the decoder that reads the features.
    Raises EncoderNotLoadedError when it was made for other dimensions.
    """

    def __init__(self, model: CoreMLModel, description: Description, dims: Dims, compute_units: str = "ALL") -> None:
        self._model, self._dims = model, dims
        self._input, self._output = input_and_output(description, dims)
        self._longest_first = sorted(self._input.shapes, key=lambda shape: shape[-1], reverse=True)
        self.description = f"coreml ({_number_type(description)}, {compute_units})"

    def encode(self, mel: Mel) -> Features:
        """Windows between the lengths that the model takes are filled up with silence.

        Raises ShapeConversionError for mel of another shape, CoreMLInferenceError when Core ML fails.
        """
        shape = self._shape_for(mel)
        columns = np.full((mel.columns.shape[0], shape[-1]), silence_in(mel), self._input.dtype)
        columns[:, : mel.columns.shape[1]] = mel.columns
        try:
            answer = self._model.predict({self._input.name: columns.reshape(shape)})
        # What coremltools raises is documented nowhere.
        except Exception as error:
            raise CoreMLInferenceError(f"Core ML failed on a window of {shape}: {error}") from error
        return self._features(answer, shape[-1] // HOPS_PER_FRAME)[: mel.n_frames]

    def _shape_for(self, mel: Mel) -> tuple[int, ...]:
        """Return the shortest input shape that holds the window."""
        n_mels, n_hops = mel.columns.shape
        fitting = [shape for shape in self._longest_first if shape[-1] >= n_hops and shape[1] == n_mels]
        if not fitting:
            raise ShapeConversionError("mel for the Core ML encoder", self._longest_first[0], (1, n_mels, n_hops))
        return fitting[-1]

    def _features(self, answer: dict[str, NDArray[Any]], n_frames: int) -> Features:
        """Return float32 (n_frames, n_audio_state)."""
        found = answer[self._output.name] if self._output.name in answer else np.zeros(0)
        expected = (1, n_frames, self._dims.n_audio_state)
        if found.ndim == _CHANNELS_FIRST and found.shape[2] == 1:
            found = found[:, :, 0].swapaxes(1, 2)
        if found.shape != expected:
            raise ShapeConversionError(f"output {self._output.name} of the Core ML encoder", expected, found.shape)
        features: Features = np.ascontiguousarray(found[0], np.float32)
        if not np.isfinite(features).all():
            raise CoreMLInferenceError("Core ML returned features that are NaN or infinite")
        return features


def input_and_output(description: Description, dims: Dims) -> tuple[Feature, Feature]:
    """Return what the model takes and what it returns.

    Raises EncoderNotLoadedError unless mel bins, length and width are those of the decoder's model.
    """
    given, returned = _only(description, description.inputs, "input"), _only(description, description.outputs, "output")
    source, shape = description.path, given.shapes[0] if given.shapes else ()
    if given.dtype not in ("float16", "float32"):
        raise EncoderNotLoadedError(f"{source}: got an input of {given.dtype}, expected float16 or float32")
    if len(shape) not in (_CHANNELS_LAST, _CHANNELS_FIRST):
        raise EncoderNotLoadedError(f"{source}: got an input of {shape}, expected (1, n_mels, n_hops)")
    if shape[1] != dims.n_mels:
        raise EncoderNotLoadedError(
            f"{source}: belongs to another model: got an encoder of {shape[1]} mel bins, expected {dims.n_mels}"
        )
    for each in given.shapes:
        if each != (*shape[:-1], each[-1]) or math.prod(shape[:-1]) != dims.n_mels or not _is_window(each[-1], dims):
            raise EncoderNotLoadedError(
                f"{source}: got an input of {each}, expected (1, {dims.n_mels}, at most {dims.n_audio_ctx * 2})"
            )
    for output in returned.shapes:
        width = output[1] if len(output) == _CHANNELS_FIRST else output[-1]
        if output and width != dims.n_audio_state:
            raise EncoderNotLoadedError(
                f"{source}: belongs to another model: got an encoder of width {width}, expected {dims.n_audio_state}"
            )
    return given, returned


def _is_window(n_hops: int, dims: Dims) -> bool:
    return 0 < n_hops <= HOPS_PER_FRAME * dims.n_audio_ctx and n_hops % HOPS_PER_FRAME == 0


def _number_type(description: Description) -> str:
    """Return what the package says its numbers are."""
    said = description.metadata
    quantized = said.get("quantize", "none")
    whole = said.get("precision") or said.get("computePrecision") or "numbers unknown"
    return whole if quantized == "none" else quantized


def _only(description: Description, features: tuple[Feature, ...], what: str) -> Feature:
    """Return the only feature, or the one that is known by name."""
    named = [each for each in features if each.name in _KNOWN_NAMES]
    for found in (features, named):
        if len(found) == 1:
            return found[0]
    names = ", ".join(each.name for each in features) or "none"
    raise EncoderNotLoadedError(f"{description.path}: not an encoder: got {what}s {names}, expected one")
