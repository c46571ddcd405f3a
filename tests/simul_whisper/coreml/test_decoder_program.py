"""The decoder's programs, executed with NumPy from the saved packages, against the MLX network."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.interface import AUDIO, FUNCTIONS, MASKED, PREFILL, PREFILL_TOKENS, STEP, padded_frames
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.network import Cache, Decoder
from simul_whisper.progress import Progress
from simul_whisper.weights import Dims, Head
from tests.simul_whisper.weights.build import DIMS, random_tensors

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

from simul_whisper.coreml import decoder_program, layers  # noqa: E402
from simul_whisper.coreml.spec import read_program  # noqa: E402

Array = NDArray[Any]
Heads = tuple[Head, ...]
Made = Callable[[Dims, Conversion], dict[str, Path]]
# Powers of four per head, as Whisper's 64, so that the scale of scores is exact in float16.
FIRST = replace(DIMS, n_text_ctx=64, n_text_layer=2, n_text_head=4)
# A frame more than a state of 32 has room for.
SECOND = replace(FIRST, n_text_layer=3, n_text_head=16, n_audio_ctx=33)
ONE_OF_ALL = replace(FIRST, n_text_layer=1, n_text_head=1)
HEADS: dict[Dims, Heads] = {
    FIRST: ((1, 3), (0, 0), (1, 2)),
    SECOND: ((2, 15), (0, 1)),
    ONE_OF_ALL: ((0, 0),),
}
STATES, INPUTS, EXACT = Conversion(target="macOS15"), Conversion(target="macOS13"), Conversion(precision="float32")
INT8_STATES, INT8_INPUTS = (replace(each, quantize="int8") for each in (STATES, INPUTS))
# Passes over a text: each a list of tokens, of which only the first pass is longer than one.
PASSES = [[3, 1, 4, 15, 9, 2], [6], [5], [35], [8, 9, 7], [9]]


def tensors_of(dims: Dims) -> dict[str, Array]:
    """Weights as small as trained ones, so that no softmax saturates."""
    return {name: value * np.float16(0.1) for name, value in random_tensors(dims).items()}


def features_of(dims: Dims, seed: int = 0) -> Array:
    """Features of a window that is a frame shorter than the longest; exact in float16."""
    shape = (dims.n_audio_ctx - 1, dims.n_audio_state)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float16).astype(np.float32)


def saved(folder: Path, dims: Dims, conversion: Conversion) -> dict[str, Path]:
    """Where the functions are: a package each without states, and one for all with them."""
    made = {}
    for function in FUNCTIONS:
        model = decoder_program.build(function, dims, tensors_of(dims), HEADS[dims], conversion)
        made[function] = folder / f"{function}.mlpackage"
        model.save(str(made[function]))
        layers.discard(model)
    if conversion.has_states:
        layers.joined(made, STEP, folder / "decoder.mlpackage")
        return dict.fromkeys(FUNCTIONS, folder / "decoder.mlpackage")
    return made


class Text:
    """A text over one window, read by the package's own interface. float16: as the reference runtime has it."""

    def __init__(self, paths: dict[str, Path], dims: Dims = FIRST, *, float16: bool | None = None) -> None:
        self.dims, self.position = dims, 0
        self.has_states = paths[STEP] == paths[AUDIO]
        self.models = {
            name: ReferenceModel(path, function=name if self.has_states else "", float16=float16)
            for name, path in paths.items()
        }
        self.state = self.models[STEP].make_state() if self.has_states else None
        n_layer, n_state, n = dims.n_text_layer, dims.n_text_state, dims.n_text_ctx
        self.caches: dict[str, Array] = {
            "key_cache": np.zeros((n_layer, n, 1, n_state)),
            "value_cache": np.zeros((n_layer, n_state, 1, n)),
        }

    def begin(self, features: Array) -> None:
        self.position = 0
        padded = np.zeros((1, padded_frames(self.dims), self.dims.n_audio_state))
        padded[0, : len(features)] = features
        self.audio_mask = np.full((1, padded.shape[1], 1, 1), MASKED)
        self.audio_mask[:, : len(features)] = 0
        projected = self.models[AUDIO].predict({"features": padded}, self.state)
        self.audio = {} if self.has_states else projected

    def read(self, tokens: list[int]) -> tuple[Array, Array]:
        """Returns logits (n, n_vocab) and attention (n_heads, n, n_frames)."""
        n, n_read, n_text = len(tokens), PREFILL_TOKENS if len(tokens) > 1 else 1, self.dims.n_text_ctx
        inputs: dict[str, Array] = {"tokens": np.zeros((1, n_read), np.int32), "position": np.array([self.position])}
        inputs["tokens"][0, :n] = tokens
        seen = np.arange(n_text)[:, None] <= self.position + np.arange(n_read)
        if not self.has_states:
            cached = np.repeat(np.arange(n_text)[:, None] < self.position, n_read, axis=1)
            seen = np.concatenate([cached, np.tril(np.ones((n_read, n_read), bool)).T])
            inputs |= self.caches | self.audio
        inputs |= {"mask": np.where(seen, 0, MASKED)[None, :, None, :], "audio_mask": self.audio_mask}
        found = self.models[PREFILL if n > 1 else STEP].predict(inputs, self.state)
        if not self.has_states:
            places = slice(self.position, self.position + n)
            self.caches["key_cache"][:, places] = found["new_keys"][:, :n]
            self.caches["value_cache"][..., places] = found["new_values"][..., :n]
        self.position += n
        n_frames = int((self.audio_mask == 0).sum())
        assert found["attention"].shape == (1, padded_frames(self.dims), len(HEADS[self.dims]), n_read)
        assert not found["attention"][0, n_frames:].any()
        return found["logits"][0, :n], found["attention"][0, :n_frames, :, :n].transpose(1, 2, 0)


def texts_of_mlx(dims: Dims, features: Array) -> list[tuple[Array, Array]]:
    network = Decoder(dims)
    ours = {name: value for name, value in tensors_of(dims).items() if name.startswith("decoder.")}
    network.load_weights(
        [(name.removeprefix("decoder."), mx.array(value.astype(np.float32))) for name, value in ours.items()]
    )
    audio = network.audio_keys_values(mx.array(features)[None])
    caches = [Cache() for _ in audio]
    found = []
    for tokens in PASSES:
        hidden, attention = network(mx.array([tokens]), caches, audio, HEADS[dims])
        found.append((np.array(network.logits(hidden))[0], np.array(attention)[0]))
    return found


def assert_like(found: list[tuple[Array, Array]], expected: list[tuple[Array, Array]], least_db: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for mine, reference in zip(ours, theirs, strict=True):
            assert parity(mine.astype(np.float32), reference).psnr_db >= least_db


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The packages of a conversion, each made once."""
    return cache(lambda dims, conversion: saved(tmp_path_factory.mktemp("decoder"), dims, conversion))


@pytest.mark.parametrize(
    ("dims", "conversion"),
    [(FIRST, STATES), (FIRST, INPUTS), (FIRST, EXACT), (SECOND, STATES), (SECOND, EXACT), (ONE_OF_ALL, STATES)],
)
def test_computed_in_float32_it_is_mlx_s(made: Made, dims: Dims, conversion: Conversion) -> None:
    text = Text(made(dims, conversion), dims, float16=False)
    features = features_of(dims)
    text.begin(features)
    assert_like([text.read(tokens) for tokens in PASSES], texts_of_mlx(dims, features), 100)


@pytest.mark.parametrize(("conversion", "least_db"), [(STATES, 60), (INPUTS, 60), (INT8_STATES, 25), (INT8_INPUTS, 25)])
def test_with_fewer_bits_it_stays_close(made: Made, conversion: Conversion, least_db: float) -> None:
    text = Text(made(FIRST, conversion))
    text.begin(features_of(FIRST))
    assert_like([text.read(tokens) for tokens in PASSES], texts_of_mlx(FIRST, features_of(FIRST)), least_db)


def test_a_text_may_go_back_and_a_window_may_begin_anew(made: Made) -> None:
    text = Text(made(FIRST, STATES), float16=False)
    text.begin(features_of(FIRST, seed=1))
    text.read([7] * 20)
    text.begin(features_of(FIRST))
    assert text.state is not None
    assert not text.state.read_state("key_cache").any()
    assert not text.state.read_state("value_cache").any()
    first = text.read(PASSES[0])
    text.read([40, 41, 42])
    text.position = len(PASSES[0])
    assert_like([first, *map(text.read, PASSES[1:])], texts_of_mlx(FIRST, features_of(FIRST)), 100)


@pytest.mark.parametrize(("conversion", "plain"), [(INT8_STATES, STATES), (INT8_INPUTS, INPUTS)])
def test_with_8_bits_it_is_smaller(made: Made, conversion: Conversion, plain: Conversion) -> None:
    assert weight_bytes(made(FIRST, conversion)[STEP]) <= 0.65 * weight_bytes(made(FIRST, plain)[STEP])


def weight_bytes(package: Path) -> int:
    return next(package.rglob("weight.bin")).stat().st_size


@pytest.mark.parametrize("conversion", [STATES, INT8_STATES])
def test_the_functions_share_their_weights(made: Made, conversion: Conversion) -> None:
    package = made(FIRST, conversion)[STEP]
    alone = {name: weight_bytes(package.with_name(f"{name}.mlpackage")) for name in FUNCTIONS}
    assert weight_bytes(package) <= 1.02 * (alone[STEP] + alone[AUDIO])


def test_every_function_has_all_four_states(made: Made) -> None:
    found = describe(made(FIRST, STATES)[STEP])
    states = {
        "key_cache": (2, 64, 1, 64),
        "value_cache": (2, 64, 1, 64),
        "audio_keys": (2, 32, 1, 64),
        "audio_values": (2, 64, 1, 32),
    }
    assert found.function().name == STEP
    assert {each.name for each in found.functions} == set(FUNCTIONS)
    for function in found.functions:
        assert {each.name: (each.shapes, each.dtype) for each in function.states} == {
            name: ((shape,), "float16") for name, shape in states.items()
        }


def test_no_write_of_a_state_undoes_an_earlier_one(made: Made) -> None:
    """Each update takes what the last one left, not what was read at the beginning."""
    for function, path in made(SECOND, STATES).items():
        updates = [each for each in read_program(path, function).operations if each.type == "slice_update"]
        assert len(updates) == SECOND.n_text_layer * (4 if function == AUDIO else 2)
        assert len({each.inputs["x"][0] for each in updates}) == len(updates)


@pytest.mark.parametrize("conversion", [STATES, INPUTS])
def test_nothing_is_cast_and_every_shape_is_known(made: Made, conversion: Conversion) -> None:
    for function, path in made(FIRST, conversion).items():
        program = read_program(path, function if conversion.has_states else "")
        assert "cast" not in {each.type for each in program.operations}
        assert max(len(each.shape) for each in program.types.values()) <= 4
        assert None not in {size for each in program.types.values() for size in each.shape}
        assert "float32" not in {each.dtype for each in program.types.values()}


def test_it_reports_its_steps_and_draws_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[Progress] = []
    layers.discard(decoder_program.build(STEP, FIRST, tensors_of(FIRST), HEADS[FIRST], STATES, seen.append))
    assert [each.detail for each in seen] == [*["the layers of `step`"] * 3, "the program `step`"]
    assert [each.fraction for each in seen[:3]] == [0, 0.5, 1]
    assert capfd.readouterr() == ("", "")
