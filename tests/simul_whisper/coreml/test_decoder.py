"""Core ML decoders over models that answer zeros: what they ask, what they copy, and what they do not accept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import BackendError, CoreMLInferenceError, ShapeConversionError
from simul_whisper.coreml import interface as io
from simul_whisper.coreml.runtime import CoreMLState
from simul_whisper.decoders import TextDecoder
from simul_whisper.decoders.coreml import CoreMLDecoder, Functions
from simul_whisper.decoders.whisperkit import WhisperKitDecoder
from tests.simul_whisper.coreml.test_decoder_packages import DIMS, WHISPERKIT

Arrays = dict[str, NDArray[Any]]
N, L, C = io.padded_frames(DIMS), DIMS.n_text_layer, DIMS.n_text_state
FEATURES = np.ones((DIMS.n_audio_ctx, C), np.float32)
STATES = {
    io.KEY_CACHE: (L, DIMS.n_text_ctx, 1, C),
    io.VALUE_CACHE: (L, C, 1, DIMS.n_text_ctx),
    io.AUDIO_KEYS: (L, N, 1, C),
    io.AUDIO_VALUES: (L, C, 1, N),
}


@dataclass
class Memory:
    """States, and the names of those that were written from outside."""

    arrays: Arrays
    written: list[str] = field(default_factory=list)

    def read_state(self, name: str) -> NDArray[Any]:
        return self.arrays[name].copy()

    def write_state(self, name: str, value: NDArray[Any]) -> None:
        self.written.append(name)
        self.arrays[name] = value


@dataclass
class Zeros:
    """A function that answers zeros of these shapes. spoil: what becomes of an answer; made: its states."""

    shapes: dict[str, tuple[int, ...]]
    asked: list[Arrays] = field(default_factory=list)
    made: list[Memory] = field(default_factory=list)
    spoil: Callable[[Arrays], Arrays] = lambda answer: answer

    def make_state(self) -> Memory:
        self.made.append(Memory({name: np.zeros(shape, np.float16) for name, shape in STATES.items()}))
        return self.made[-1]

    def predict(self, inputs: Arrays, state: CoreMLState | None = None) -> Arrays:  # noqa: ARG002
        self.asked.append({name: array.copy() for name, array in inputs.items()})
        return self.spoil({name: np.zeros(shape, np.float16) for name, shape in self.shapes.items()})


def text_function(n: int, *, has_states: bool) -> Zeros:
    shapes: dict[str, tuple[int, ...]] = {io.LOGITS: (1, n, DIMS.n_vocab), io.ATTENTION: (1, N, 2, n)}
    if not has_states:
        shapes |= {io.NEW_KEYS: (L, n, 1, C), io.NEW_VALUES: (L, C, 1, n)}
    return Zeros(shapes)


def functions(*, has_states: bool) -> tuple[Zeros, Zeros, Zeros]:
    projected: dict[str, tuple[int, ...]] = {name: STATES[name] for name in (io.AUDIO_KEYS, io.AUDIO_VALUES)}
    audio = Zeros({io.READY: (1,)} if has_states else projected)
    return audio, text_function(io.PREFILL_TOKENS, has_states=has_states), text_function(1, has_states=has_states)


def decoder_of(models: tuple[Zeros, Zeros, Zeros], *, has_states: bool) -> CoreMLDecoder:
    return CoreMLDecoder(Functions(*models), DIMS, 2, has_states=has_states)


@pytest.mark.parametrize("has_states", [True, False])
@pytest.mark.parametrize(
    ("before", "n", "n_prefills", "n_steps"),
    [
        (0, 1, 0, 1),
        (0, 2, 1, 0),
        (0, 32, 1, 0),
        (0, 33, 1, 1),
        (5, 65, 2, 1),
        (0, 96, 3, 0),
        (64, 31, 1, 0),
        (65, 31, 0, 31),
    ],
)
def test_texts_are_read_in_parts_of_a_fixed_size_unless_there_is_no_room(
    has_states: bool, before: int, n: int, n_prefills: int, n_steps: int
) -> None:
    audio, prefill, step = functions(has_states=has_states)
    decoder = decoder_of((audio, prefill, step), has_states=has_states)
    state = decoder.begin(FEATURES)
    if before:
        decoder.step(state, [[1] * before])
    prefill.asked.clear()
    step.asked.clear()
    decoder.step(state, [list(range(n))])
    assert (len(audio.asked), len(prefill.asked), len(step.asked)) == (1, n_prefills, n_steps)
    asked = [*prefill.asked, *step.asked]
    assert all(each[io.POSITION][0] + each[io.TOKENS].size <= DIMS.n_text_ctx for each in asked)
    read = {int(each[io.POSITION][0]): each[io.TOKENS][0].tolist() for each in asked}
    said = [token for position in sorted(read) for token in read[position]]
    assert said[:n] == list(range(n))


@pytest.mark.parametrize("has_states", [True, False])
def test_a_token_may_look_at_itself_and_those_before_and_at_frames_that_there_are(has_states: bool) -> None:
    models = functions(has_states=has_states)
    decoder = decoder_of(models, has_states=has_states)
    state = decoder.begin(FEATURES[:7])
    decoder.step(state, [[1] * 5])
    decoder.step(state, [[2] * 3])
    asked = models[1].asked[-1]
    n_keys = DIMS.n_text_ctx + (0 if has_states else io.PREFILL_TOKENS)
    assert asked[io.MASK].shape == (1, n_keys, 1, io.PREFILL_TOKENS)
    for n in range(io.PREFILL_TOKENS):
        own = range(DIMS.n_text_ctx, DIMS.n_text_ctx + n + 1) if not has_states else range(5, 5 + n + 1)
        visible = np.flatnonzero(asked[io.MASK][0, :, 0, n] == 0)
        assert visible.tolist() == [*range(5), *own]
    assert set(np.unique(asked[io.MASK])) == {np.float16(io.MASKED), 0}
    assert np.flatnonzero(asked[io.AUDIO_MASK][0, :, 0, 0] == 0).tolist() == list(range(7))
    assert {array.dtype.name for array in asked.values()} == {"int32", "float16"}
    [projected] = models[0].asked
    assert projected[io.FEATURES].shape == (1, N, C)
    assert projected[io.FEATURES].sum() == 7 * C


def test_nothing_is_copied_for_one_beam() -> None:
    models = functions(has_states=True)
    decoder = decoder_of(models, has_states=True)
    state = decoder.begin(FEATURES)
    for length in (3, 1, 0):
        decoder.step(state, [[1, 2, 3, 4]])
        decoder.select(state, [0], length)
    [memory] = models[0].made
    assert not memory.written


def test_beams_have_states_of_their_own_and_take_over_those_that_are_free() -> None:
    audio, *others = models = functions(has_states=True)
    decoder = decoder_of(models, has_states=True)
    state = decoder.begin(FEATURES)
    decoder.step(state, [[1, 2]])
    decoder.select(state, [0, 0, 0])
    assert [memory.written for memory in audio.made] == [[], list(STATES), list(STATES)]
    for beams in ([2], [0, 0, 0], [1, 1, 0], [2, 0, 1], [0], [0, 0]):
        for memory in audio.made:
            memory.written.clear()
        decoder.select(state, beams)
        written = [memory.written for memory in audio.made if memory.written]
        assert written == [[io.KEY_CACHE, io.VALUE_CACHE]] * (len(beams) - len(set(beams)))
    assert len(audio.made) == 3
    assert not any(function.made for function in others)


def whisperkit() -> tuple[Zeros, WhisperKitDecoder]:
    model = Zeros({each.name: each.shapes[0] for each in WHISPERKIT.outputs})
    return model, WhisperKitDecoder(model, WHISPERKIT, DIMS)


def test_whisperkit_is_asked_for_one_token_after_the_other() -> None:
    model, decoder = whisperkit()
    state = decoder.begin(FEATURES)
    step = decoder.step(state, [[7, 8, 9]], logits_at=(0, -1))
    assert step.logits.shape == (1, 2, DIMS.n_vocab)
    assert step.attention.shape == (1, 1, 3, DIMS.n_audio_ctx)
    inputs = {each.name: each for each in WHISPERKIT.inputs}
    for position, asked in enumerate(model.asked):
        assert {name: (array.shape, array.dtype.name) for name, array in asked.items()} == {
            name: (each.shapes[0], each.dtype) for name, each in inputs.items()
        }
        assert (asked["input_ids"].item(), asked["cache_length"].item()) == (7 + position, position)
        assert np.flatnonzero(asked["kv_cache_update_mask"]).tolist() == [position]
        assert np.flatnonzero(asked["decoder_key_padding_mask"] == 0).tolist() == list(range(position + 1))
        assert asked["decoder_key_padding_mask"].min() == np.float16(-1e4)
    assert len(model.asked) == 3


def decoders() -> list[tuple[TextDecoder, list[Zeros]]]:
    found: list[tuple[TextDecoder, list[Zeros]]] = []
    for has_states in (True, False):
        models = functions(has_states=has_states)
        found.append((decoder_of(models, has_states=has_states), list(models)))
    model, decoder = whisperkit()
    return [*found, (decoder, [model])]


KINDS = ["states", "inputs", "whisperkit"]
each_kind = pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)


@each_kind
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda answer: {**answer, "logits": answer["logits"] * np.nan},
            "logits with numbers that are NaN or infinite",
        ),
        (lambda answer: {name: array + np.inf for name, array in answer.items()}, "NaN or infinite"),
        (lambda answer: {name: array for name, array in answer.items() if name != "logits"}, "gave no logits, but"),
        (lambda answer: {**answer, "logits": answer["logits"][..., 1:]}, r"gave logits \(1, .*, 49\), expected \(1, "),
        (lambda _: {}, "gave no logits, but nothing"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(kind: int, spoil: Callable[[Arrays], Arrays], said: str) -> None:
    decoder, models = decoders()[kind]
    state = decoder.begin(FEATURES)
    for model in models:
        model.spoil = spoil
    with pytest.raises(CoreMLInferenceError, match=said):
        decoder.step(state, [[1, 2, 3]])


def fail(*_: Any) -> Any:
    raise RuntimeError("Error computing NN outputs")


@each_kind
def test_whatever_core_ml_raises_is_one_error_that_names_it(kind: int) -> None:
    decoder, models = decoders()[kind]
    state = decoder.begin(FEATURES)
    for model in models:
        model.spoil = fail
    with pytest.raises(CoreMLInferenceError, match="Error computing NN outputs") as caught:
        decoder.step(state, [[1, 2, 3]])
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("name", ["make_state", "predict"])
def test_a_window_that_cannot_be_projected_is_one_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = functions(has_states=True)
    monkeypatch.setattr(models[0], name, fail)
    with pytest.raises(CoreMLInferenceError, match="Error computing NN outputs"):
        decoder_of(models, has_states=True).begin(FEATURES)


@pytest.mark.parametrize("name", ["read_state", "write_state"])
def test_a_state_that_cannot_be_copied_is_one_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = decoder_of(functions(has_states=True), has_states=True)
    state = decoder.begin(FEATURES)
    monkeypatch.setattr(Memory, name, fail)
    with pytest.raises(CoreMLInferenceError, match="copy the state of the decoder: Error computing NN outputs"):
        decoder.select(state, [0, 0])


@each_kind
def test_a_text_that_is_too_long_is_refused_before_anything_is_read(kind: int) -> None:
    decoder, models = decoders()[kind]
    state = decoder.begin(FEATURES)
    decoder.step(state, [[1] * 40])
    n_asked = [len(model.asked) for model in models]
    with pytest.raises(BackendError, match="got a text of 97 tokens, expected at most 96"):
        decoder.step(state, [[1] * 57])
    assert [len(model.asked) for model in models] == n_asked


@each_kind
@pytest.mark.parametrize("shape", [(0, 64), (DIMS.n_audio_ctx + 1, 64), (DIMS.n_audio_ctx, 32)])
def test_features_of_another_model_are_refused(kind: int, shape: tuple[int, int]) -> None:
    decoder, _ = decoders()[kind]
    with pytest.raises(ShapeConversionError) as caught:
        decoder.begin(np.zeros(shape, np.float32))
    assert (caught.value.expected, caught.value.got) == ((DIMS.n_audio_ctx, 64), shape)


def test_whisperkit_refuses_a_window_that_is_not_whole() -> None:
    _, decoder = whisperkit()
    with pytest.raises(ShapeConversionError, match="features for WhisperKit's decoder"):
        decoder.begin(FEATURES[:-1])
