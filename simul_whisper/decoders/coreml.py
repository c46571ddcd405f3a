"""Our Core ML decoders, behind `TextDecoder`: functions and caches as `coreml.interface` has them.

A text is read by `prefill`, a fixed number of tokens at a time, and a token alone by `step`. What `prefill` caches of
the tokens that fill it up lies behind the text, where it is masked until other tokens take its place.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from simul_whisper.coreml import interface as io
from simul_whisper.coreml.runtime import CoreMLModel, CoreMLState
from simul_whisper.decoders import Step
from simul_whisper.decoders.prediction import Array, Predictor, finite
from simul_whisper.encoders import Features
from simul_whisper.errors import BackendError, CoreMLInferenceError, ShapeConversionError
from simul_whisper.weights.model import Dims

_TEXT_STATES, _AUDIO_STATES = (io.KEY_CACHE, io.VALUE_CACHE), (io.AUDIO_KEYS, io.AUDIO_VALUES)
_FILLING = 0


@dataclass(frozen=True)
class Functions:
    """The functions of a decoder, opened."""

    audio: CoreMLModel
    prefill: CoreMLModel
    step: CoreMLModel


class Caches(Protocol):
    """Keys and values of a window's audio, and of the text of each beam."""

    @property
    def n_beams(self) -> int: ...

    def run(self, function: Predictor, beam: int, position: int, inputs: dict[str, Array]) -> dict[str, Array]:
        """Read tokens that stand at `position` of that beam, and keep their keys and values."""
        ...

    def select(self, beams: Sequence[int]) -> None:
        """Go on with these beams, in this order."""
        ...


@dataclass
class CoreMLText:
    """A text over a window. audio_mask: (1, N, 1, 1), of the type of the program."""

    caches: Caches
    audio_mask: Array
    n_frames: int
    length: int = 0


class CoreMLDecoder:
    """A `TextDecoder` over the functions of a package.

    dtype: "float16" or "float32", that of the programs. has_states: whether they keep the caches. description: for
    people.
    """

    def __init__(
        self,
        functions: Functions,
        dims: Dims,
        n_heads: int,
        dtype: str = "float16",
        *,
        has_states: bool,
        description: str = "coreml",
    ) -> None:
        self._dims, self._dtype, self._has_states = dims, dtype, has_states
        self._n_frames = io.padded_frames(dims)
        self._make_state = functions.audio.make_state
        n_layer, n_state = dims.n_text_layer, dims.n_text_state
        projected = {
            io.AUDIO_KEYS: (n_layer, self._n_frames, 1, n_state),
            io.AUDIO_VALUES: (n_layer, n_state, 1, self._n_frames),
        }
        self._audio = Predictor(functions.audio, {io.READY: (1,)} if has_states else projected)
        self._prefill, self._step = (
            Predictor(model, self._shapes(n, n_heads))
            for model, n in ((functions.prefill, io.PREFILL_TOKENS), (functions.step, 1))
        )
        self.description = description

    def begin(self, features: Features) -> CoreMLText:
        """Raises ShapeConversionError for features of another model, CoreMLInferenceError when Core ML fails."""
        n_frames, expected = len(features), (self._dims.n_audio_ctx, self._dims.n_audio_state)
        if features.shape != (n_frames, expected[1]) or not 0 < n_frames <= expected[0]:
            raise ShapeConversionError("features for the Core ML decoder", expected, features.shape)
        padded = np.zeros((1, self._n_frames, expected[1]), self._dtype)
        padded[0, :n_frames] = features
        audio_mask = np.full((1, self._n_frames, 1, 1), io.MASKED, self._dtype)
        audio_mask[:, :n_frames] = 0
        return CoreMLText(self._projected({io.FEATURES: padded}), audio_mask, n_frames)

    def step(self, state: CoreMLText, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        """As any decoder. Raises BackendError for a text that is too long, CoreMLInferenceError when Core ML fails."""
        n, n_positions = len(tokens[0]), self._dims.n_text_ctx
        if state.length + n > n_positions:
            raise BackendError(f"got a text of {state.length + n} tokens, expected at most {n_positions}")
        if len(tokens) != state.caches.n_beams:
            assert state.length == 0
            state.caches.select([0] * len(tokens))
        asked = [position % n for position in logits_at]
        read = [self._read(state, beam, text, asked) for beam, text in enumerate(tokens)]
        state.length += n
        logits, attention = zip(*read, strict=True)
        return Step(finite(io.LOGITS, np.stack(logits)), finite(io.ATTENTION, np.stack(attention)))

    def select(self, state: CoreMLText, beams: Sequence[int], length: int | None = None) -> None:
        if list(beams) != list(range(state.caches.n_beams)):
            state.caches.select(beams)
        state.length = state.length if length is None else length

    def _projected(self, inputs: dict[str, Array]) -> Caches:
        """Project a window."""
        if self._has_states:
            state = _made(self._make_state)
            self._audio.run(inputs, state)
            return _States(self._make_state, [state])
        dims, answer = self._dims, self._audio.run(inputs)
        keys = np.zeros((1, dims.n_text_layer, dims.n_text_ctx, 1, dims.n_text_state), self._dtype)
        values = np.zeros((1, dims.n_text_layer, dims.n_text_state, 1, dims.n_text_ctx), self._dtype)
        return _Inputs({name: answer[name] for name in _AUDIO_STATES}, keys, values)

    def _read(self, state: CoreMLText, beam: int, text: Sequence[int], asked: list[int]) -> tuple[Array, Array]:
        """Return logits (n_asked, n_vocab) and attention (n_heads, n, n_frames)."""
        logits, rows = dict[int, Array](), list[Array]()
        for start, n in _cut(state.length, len(text), self._dims.n_text_ctx):
            function, size = (self._step, 1) if n == 1 else (self._prefill, io.PREFILL_TOKENS)
            ids = np.full((1, size), _FILLING, np.int32)
            ids[0, :n] = text[start : start + n]
            position = state.length + start
            inputs = {
                io.TOKENS: ids,
                io.POSITION: np.array([position], np.int32),
                io.MASK: self._mask(position, size),
                io.AUDIO_MASK: state.audio_mask,
            }
            answer = state.caches.run(function, beam, position, inputs)
            # A copy of what is asked for, as the rest may be large.
            logits |= {
                start + place: answer[io.LOGITS][0, place].copy() for place in range(n) if start + place in asked
            }
            rows.append(answer[io.ATTENTION][0, : state.n_frames, :, :n].transpose(1, 2, 0))
        return np.stack([logits[place] for place in asked]), np.concatenate(rows, axis=1)

    def _mask(self, position: int, n: int) -> Array:
        """Return the mask of n tokens at `position`: (1, n_keys, 1, n)."""
        n_cached = self._dims.n_text_ctx
        n_keys, own = (n_cached, position) if self._has_states else (n_cached + n, n_cached)
        mask = np.full((1, n_keys, 1, n), io.MASKED, self._dtype)
        mask[:, :position] = 0
        mask[0, own : own + n, 0] = np.tril(np.full((n, n), io.MASKED, self._dtype), -1)
        return mask

    def _shapes(self, n: int, n_heads: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what a function gives that reads n tokens."""
        dims = self._dims
        shapes: dict[str, tuple[int, ...]] = {
            io.LOGITS: (1, n, dims.n_vocab),
            io.ATTENTION: (1, self._n_frames, n_heads, n),
        }
        if not self._has_states:
            shapes[io.NEW_KEYS] = (dims.n_text_layer, n, 1, dims.n_text_state)
            shapes[io.NEW_VALUES] = (dims.n_text_layer, dims.n_text_state, 1, n)
        return shapes


def _cut(position: int, n: int, n_positions: int) -> Iterator[tuple[int, int]]:
    """Yield start and size of the parts in which n tokens at `position` are read; near the end there is no room for
    more than one."""
    start = 0
    while start < n:
        has_room = position + start + io.PREFILL_TOKENS <= n_positions
        size = min(io.PREFILL_TOKENS, n - start) if has_room else 1
        yield start, size
        start += size


@dataclass
class _States:
    """A Core ML state for each beam. spare: of beams that are no more; their audio is the same."""

    make_state: Callable[[], CoreMLState]
    states: list[CoreMLState]
    spare: list[CoreMLState] = field(default_factory=list)

    @property
    def n_beams(self) -> int:
        return len(self.states)

    def run(
        self,
        function: Predictor,
        beam: int,
        position: int,  # noqa: ARG002
        inputs: dict[str, Array],
    ) -> dict[str, Array]:
        return function.run(inputs, self.states[beam])

    def select(self, beams: Sequence[int]) -> None:
        before, taken = self.states, set[int]()
        self.spare += [state for beam, state in enumerate(before) if beam not in beams]
        self.states = []
        for beam in beams:
            self.states.append(self._copied(before[beam]) if beam in taken else before[beam])
            taken.add(beam)

    def _copied(self, state: CoreMLState) -> CoreMLState:
        copy, names = (self.spare.pop(), _TEXT_STATES) if self.spare else (_made(self.make_state), _ALL_STATES)
        try:
            for name in names:
                copy.write_state(name, state.read_state(name))
        # What coremltools raises is documented nowhere.
        except Exception as error:
            raise CoreMLInferenceError(f"Core ML failed to copy the state of the decoder: {error}") from error
        return copy


_ALL_STATES = (*_TEXT_STATES, *_AUDIO_STATES)


def _made(make_state: Callable[[], CoreMLState]) -> CoreMLState:
    try:
        return make_state()
    # What coremltools raises is documented nowhere.
    except Exception as error:
        raise CoreMLInferenceError(f"Core ML failed to make a state of the decoder: {error}") from error


@dataclass
class _Inputs:
    """Caches that are inputs. keys: (n_beams, L, n_text_ctx, 1, C); values: (n_beams, L, C, 1, n_text_ctx)."""

    audio: dict[str, Array]
    keys: Array
    values: Array

    @property
    def n_beams(self) -> int:
        return len(self.keys)

    def run(self, function: Predictor, beam: int, position: int, inputs: dict[str, Array]) -> dict[str, Array]:
        caches = {io.KEY_CACHE: self.keys[beam], io.VALUE_CACHE: self.values[beam]}
        answer = function.run({**inputs, **caches, **self.audio})
        end = position + inputs[io.TOKENS].shape[1]
        self.keys[beam, :, position:end] = answer[io.NEW_KEYS]
        self.values[beam, ..., position:end] = answer[io.NEW_VALUES]
        return answer

    def select(self, beams: Sequence[int]) -> None:
        self.keys, self.values = self.keys[list(beams)], self.values[list(beams)]
