"""WhisperKit's published TextDecoder as it is: one token a prediction, one row of attention for all alignment heads.

It projects the audio anew for each token, has no mask for audio that is not there, and often fewer positions than
Whisper's 448.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simul_whisper.coreml.description import Description
from simul_whisper.coreml.interface import LOGITS, MASKED
from simul_whisper.coreml.runtime import CoreMLModel
from simul_whisper.decoders import Limits, Step
from simul_whisper.decoders.prediction import Array, Predictor, finite
from simul_whisper.encoders import Features
from simul_whisper.errors import BackendError, ShapeConversionError
from simul_whisper.weights.model import Dims

TOKEN, POSITION, NEWEST, HIDDEN = "input_ids", "cache_length", "kv_cache_update_mask", "decoder_key_padding_mask"
AUDIO, KEYS, VALUES = "encoder_output_embeds", "key_cache", "value_cache"
NEW_KEYS, NEW_VALUES, ATTENTION = "key_cache_updates", "value_cache_updates", "alignment_heads_weights"


@dataclass
class WhisperKitState:
    """audio: (1, n_audio_state, 1, n_audio_ctx); keys and values, of all layers one after the other: (n_beams,
    n_text_layer * n_text_state, 1, n_positions)."""

    audio: Array
    keys: Array
    values: Array
    length: int = 0


class WhisperKitDecoder:
    """A `TextDecoder` over an opened TextDecoder. limits: it reads whole windows, and texts as long as its caches.

    description: of the model, as `decoder_kind` takes it for WhisperKit's. dims: of the model that it was made from.
    """

    def __init__(self, model: CoreMLModel, description: Description, dims: Dims, compute_units: str = "ALL") -> None:
        inputs = {each.name: each for each in description.inputs}
        self._dtype = inputs[KEYS].dtype
        self._cache_shape = inputs[KEYS].shapes[0][1:]
        self._frames = dims.n_audio_ctx, dims.n_audio_state
        newest = 1, self._cache_shape[0], 1, 1
        self._model = Predictor(
            model,
            {
                LOGITS: (1, 1, dims.n_vocab),
                NEW_KEYS: newest,
                NEW_VALUES: newest,
                ATTENTION: (1, dims.n_audio_ctx),
            },
        )
        self.limits = Limits(n_positions=self._cache_shape[-1], whole_windows=True)
        self.description = f"coreml (WhisperKit, {self._dtype}, {compute_units})"

    def begin(self, features: Features) -> WhisperKitState:
        """features: of a window of 30 s. Raises ShapeConversionError for those of a shorter one."""
        if features.shape != self._frames:
            raise ShapeConversionError("features for WhisperKit's decoder", self._frames, features.shape)
        audio = np.ascontiguousarray(features.T[None, :, None], self._dtype)
        keys, values = (np.zeros((1, *self._cache_shape), self._dtype) for _ in range(2))
        return WhisperKitState(audio, keys, values)

    def step(self, state: WhisperKitState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        """As any decoder. Raises BackendError for a text that is too long, CoreMLInferenceError when Core ML fails."""
        n, n_positions = len(tokens[0]), self._cache_shape[-1]
        if state.length + n > n_positions:
            raise BackendError(f"got a text of {state.length + n} tokens, expected at most {n_positions}")
        if len(tokens) != len(state.keys):
            assert state.length == 0
            self.select(state, [0] * len(tokens))
        asked = [position % n for position in logits_at]
        answers = [
            [self._read(state, beam, state.length + place, token) for place, token in enumerate(text)]
            for beam, text in enumerate(tokens)
        ]
        state.length += n
        return Step(
            finite(LOGITS, np.stack([[text[place][LOGITS][0, 0] for place in asked] for text in answers])),
            finite(ATTENTION, np.stack([[[each[ATTENTION][0] for each in text]] for text in answers])),
        )

    def select(self, state: WhisperKitState, beams: Sequence[int], length: int | None = None) -> None:
        if list(beams) != list(range(len(state.keys))):
            state.keys, state.values = state.keys[list(beams)], state.values[list(beams)]
        state.length = state.length if length is None else length

    def _read(self, state: WhisperKitState, beam: int, position: int, token: int) -> dict[str, Array]:
        """Read a token, and keep its key and value."""
        newest = np.zeros((1, self._cache_shape[-1]), self._dtype)
        hidden = np.full_like(newest, MASKED)
        newest[:, position] = 1
        hidden[:, : position + 1] = 0
        answer = self._model.run(
            {
                TOKEN: np.array([token], np.int32),
                POSITION: np.array([position], np.int32),
                KEYS: state.keys[beam : beam + 1],
                VALUES: state.values[beam : beam + 1],
                NEWEST: newest,
                AUDIO: state.audio,
                HIDDEN: hidden,
            }
        )
        state.keys[beam, ..., position] = answer[NEW_KEYS][0, ..., 0]
        state.values[beam, ..., position] = answer[NEW_VALUES][0, ..., 0]
        return answer
