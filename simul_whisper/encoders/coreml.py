"""The encoder as a Core ML model: ours, whisper.cpp's or WhisperKit's, told apart by what they say of themselves."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.description import Description, Feature
from simul_whisper.coreml.interface import Projection
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
    projection: what is behind the encoder; None where that is nothing.
    Raises EncoderNotLoadedError when it was made for other dimensions.
    """

    def __init__(
        self,
        model: CoreMLModel,
        description: Description,
        dims: Dims,
        compute_units: str = "ALL",
        projection: Projection | None = None,
    ) -> None:
        self._model, self._dims = model, dims
        self._width = projection.width if projection else dims.n_audio_state
        self._hops_per_vector = HOPS_PER_FRAME * (projection.n_joined if projection else 1)
        self._input, self._output = input_and_output(description, dims, projection)
        self._lengths = _lengths(description, self._input, dims)
        # (1, n_mels, ..): all but the length.
        self._shape = _shape(self._input, dims)
        self.description = f"coreml ({description.numbers}, {compute_units})"

    def encode(self, mel: Mel) -> Features:
        """Windows of lengths that the model does not take are filled up with silence to the next one that it takes.

        Returns one vector for each frame, or for each n_joined of them, the last of which need not be whole.
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
        n_vectors = -(-mel.columns.shape[1] // self._hops_per_vector)
        return self._features(answer, shape[-1] // self._hops_per_vector)[:n_vectors]

    def _shape_for(self, mel: Mel) -> tuple[int, ...]:
        """Return the shortest input shape that holds the window."""
        n_mels, n_hops = mel.columns.shape
        place = bisect_left(self._lengths, n_hops)
        if place == len(self._lengths) or n_mels != self._dims.n_mels:
            longest = (*self._shape, self._lengths[-1])
            raise ShapeConversionError("mel for the Core ML encoder", longest, (1, n_mels, n_hops))
        return (*self._shape, self._lengths[place])

    def _features(self, answer: dict[str, NDArray[Any]], n_vectors: int) -> Features:
        """Return float32 (n_vectors, width)."""
        found = answer[self._output.name] if self._output.name in answer else np.zeros(0)
        expected = (1, n_vectors, self._width)
        if found.ndim == _CHANNELS_FIRST and found.shape[2] == 1:
            found = found[:, :, 0].swapaxes(1, 2)
        if found.shape != expected:
            raise ShapeConversionError(f"output {self._output.name} of the Core ML encoder", expected, found.shape)
        features: Features = np.ascontiguousarray(found[0], np.float32)
        if not np.isfinite(features).all():
            raise CoreMLInferenceError("Core ML returned features that are NaN or infinite")
        return features


def input_and_output(
    description: Description, dims: Dims, projection: Projection | None = None
) -> tuple[Feature, Feature]:
    """Return what the model takes and what it returns.

    Raises EncoderNotLoadedError unless mel bins, length and width are those of the decoder's model.
    """
    given, returned = _only(description, description.inputs, "input"), _only(description, description.outputs, "output")
    source, rank = description.path, len(given.ranges or (given.shapes[0] if given.shapes else ()))
    if given.dtype not in ("float16", "float32"):
        raise EncoderNotLoadedError(f"{source}: got an input of {given.dtype}, expected float16 or float32")
    if rank not in (_CHANNELS_LAST, _CHANNELS_FIRST):
        raise EncoderNotLoadedError(f"{source}: got an input of {given.accepted}, expected (1, n_mels, n_hops)")
    fewest, most = given.ranges[1] if given.ranges else (given.shapes[0][1],) * 2
    if not fewest <= dims.n_mels <= (dims.n_mels if most is None else most):
        raise EncoderNotLoadedError(
            f"{source}: belongs to another model: got an encoder of {fewest} mel bins, expected {dims.n_mels}"
        )
    _lengths(description, given, dims)
    expected = projection.width if projection else dims.n_audio_state
    for output in returned.shapes:
        width = output[1] if len(output) == _CHANNELS_FIRST else output[-1]
        if output and width != expected:
            raise EncoderNotLoadedError(
                f"{source}: belongs to another model: got an encoder of width {width}, expected {expected}"
            )
    return given, returned


def _shape(given: Feature, dims: Dims) -> tuple[int, ...]:
    """Return the shape of an input but for its length: (1, n_mels) or (1, n_mels, 1)."""
    rank = len(given.ranges or given.shapes[0])
    return (1, dims.n_mels, 1)[: rank - 1]


def _lengths(description: Description, given: Feature, dims: Dims) -> Sequence[int]:
    """Return the lengths of mel that the model takes and a window can have, in hops, shortest first.

    Raises EncoderNotLoadedError when there are none, or others.
    """
    shape, longest = _shape(given, dims), HOPS_PER_FRAME * dims.n_audio_ctx
    lengths: Sequence[int]
    if given.ranges:
        least, most = given.ranges[-1]
        first = HOPS_PER_FRAME * max(1, -(-least // HOPS_PER_FRAME))
        lengths = range(first, min(longest, longest if most is None else most) + 1, HOPS_PER_FRAME)
        is_known = bool(lengths) and given.accepts((*shape, first))
    else:
        lengths = sorted({each[-1] for each in given.shapes})
        is_known = all(each == (*shape, each[-1]) for each in given.shapes) and all(
            0 < n_hops <= longest and n_hops % HOPS_PER_FRAME == 0 for n_hops in lengths
        )
    if not is_known:
        raise EncoderNotLoadedError(
            f"{description.path}: got an input of {given.accepted}, expected (1, {dims.n_mels}, at most {longest})"
        )
    return lengths


def _only(description: Description, features: tuple[Feature, ...], what: str) -> Feature:
    """Return the only feature, or the one that is known by name."""
    named = [each for each in features if each.name in _KNOWN_NAMES]
    for found in (features, named):
        if len(found) == 1:
            return found[0]
    names = ", ".join(each.name for each in features) or "none"
    raise EncoderNotLoadedError(
        f"{description.path}: not an encoder: got {what}s {names}, expected one; give the package of an encoder"
    )
