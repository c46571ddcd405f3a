"""Voxtral's language model: what it reads in pieces, in beams and in packed numbers is the same."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.errors import BackendError
from simul_whisper.voxtral import language
from simul_whisper.voxtral.checkpoint import VoxtralWeights, open_voxtral
from simul_whisper.voxtral.dims import VoxtralDims
from simul_whisper.voxtral.language import MlxLanguage, Prompt
from tests import voxtral_files
from tests.properties import examples
from tests.voxtral_files import DIMS

HEADS = ((0, 3), (2, 0), (0, 1))
TOKENS = (299, 7, 400, 16, 16, 91, 3, 450, 299, 12)
# Whose matrices can be packed by 64.
PACKABLE = replace(DIMS, head_dim=32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> VoxtralWeights:
    directory = tmp_path_factory.mktemp("voxtral")
    return open_voxtral("small", voxtral_files.write_huggingface(directory, voxtral_files.random_tensors()))


@pytest.fixture(scope="module")
def model(weights: VoxtralWeights) -> MlxLanguage:
    return MlxLanguage(weights, heads=HEADS)


def prompt(n_audio: int = 20, dims: VoxtralDims = DIMS) -> Prompt:
    features = np.random.default_rng(5).normal(0, 0.5, (n_audio, dims.n_text_state)).astype(np.float32)
    return Prompt((1, 3, 25), features, (4,))


def logits(model: MlxLanguage, n_audio: int = 20) -> NDArray[np.float32]:
    """Return those of each of `TOKENS`, (n, n_vocab)."""
    text = model.begin(prompt(n_audio, model.dims))
    found: NDArray[np.float32] = model.step(text, [TOKENS], range(len(TOKENS))).logits[0]
    return found


@examples(20)
@given(cuts=st.sets(st.integers(1, len(TOKENS) - 1)), at_once=st.integers(1, 40))
def test_how_a_text_is_cut_into_pieces_changes_nothing(model: MlxLanguage, cuts: set[int], at_once: int) -> None:
    whole = model.step(model.begin(prompt()), [TOKENS], range(len(TOKENS)))
    edges = [0, *sorted(cuts), len(TOKENS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language, "AT_ONCE", at_once)
        text = model.begin(prompt())
    steps = [model.step(text, [TOKENS[start:end]], range(end - start)) for start, end in pairwise(edges)]
    np.testing.assert_allclose(np.concatenate([each.logits for each in steps], 1), whole.logits, atol=1e-4)
    np.testing.assert_allclose(np.concatenate([each.attention for each in steps], 2), whole.attention, atol=1e-5)
    assert text.length == len(TOKENS)


def test_attention_is_over_the_audio_alone(model: MlxLanguage) -> None:
    step = model.step(model.begin(prompt(30)), [TOKENS])
    assert step.logits.shape == (1, 1, DIMS.n_vocab)
    assert step.attention.shape == (1, len(HEADS), len(TOKENS), 30)
    assert (step.attention >= 0).all()
    assert (step.attention.sum(-1) < 1).all()


def test_beams_are_texts_of_their_own(model: MlxLanguage) -> None:
    first, second, more = TOKENS[:4], TOKENS[4:8], TOKENS[8:]
    alone = [model.begin(prompt()) for _ in range(2)]
    expected = []
    for text, start in zip(alone, (first, second), strict=True):
        model.step(text, [start])
        expected.append(model.step(text, [more]))
    text = model.begin(prompt())
    model.step(text, [first, second])
    model.select(text, [1, 0, 1])
    step = model.step(text, [more] * 3)
    for beam, one in enumerate((expected[1], expected[0], expected[1])):
        np.testing.assert_allclose(step.logits[beam], one.logits[0], atol=1e-4)
        np.testing.assert_allclose(step.attention[beam], one.attention[0], atol=1e-5)
    model.select(text, [1], length=4)
    np.testing.assert_allclose(model.step(text, [more]).logits, expected[0].logits, atol=1e-4)


def test_packed_weights_stay_packed_and_are_the_numbers_that_they_stand_for(tmp_path: Path) -> None:
    directory = voxtral_files.write_mlx(tmp_path, voxtral_files.random_tensors())
    weights = open_voxtral("small", directory)
    packed, unpacked = MlxLanguage(weights), MlxLanguage(weights, quantization="float16")
    assert "(int4 and int8, " in packed.description
    assert "(float" in unpacked.description
    # Few rows of numbers and many are multiplied in different ways.
    for n_audio in (1, 20):
        np.testing.assert_allclose(logits(packed, n_audio), logits(unpacked, n_audio), atol=1e-4)
    step = packed.step(packed.begin(prompt()), [TOKENS[:3]])
    np.testing.assert_allclose(step.logits[0, 0], logits(unpacked)[2], atol=1e-4)


def test_weights_are_packed_as_they_are_read(tmp_path: Path) -> None:
    tensors = voxtral_files.random_tensors(PACKABLE)
    weights = open_voxtral("small", voxtral_files.write_huggingface(tmp_path, tensors, PACKABLE))
    plain, errors = logits(MlxLanguage(weights)), dict[str, np.float32]()
    for quantization in ("int8", "int4"):
        packed = MlxLanguage(weights, quantization=quantization, fallback_to_float16=False)
        assert f"({quantization}, " in packed.description
        errors[quantization] = np.sqrt(np.square(logits(packed) - plain).mean())
    # Steps of four bits are sixteen times as wide.
    assert 0 < 8 * errors["int8"] < errors["int4"] < plain.std()


def test_weights_that_cannot_be_packed(weights: VoxtralWeights, model: MlxLanguage) -> None:
    plain = MlxLanguage(weights, quantization="int4")
    assert "not int4: 96 are no multiples of 64" in plain.description
    np.testing.assert_array_equal(logits(plain), logits(model))
    with pytest.raises(BackendError, match=r"^small cannot be int4: 96 are no multiples of 64$"):
        MlxLanguage(weights, quantization="int4", fallback_to_float16=False)


def test_more_than_the_model_can_read_is_refused(model: MlxLanguage) -> None:
    too_long = prompt(DIMS.n_text_ctx)
    with pytest.raises(BackendError, match=r"^got 4100 positions of audio and text, expected at most 4096$"):
        model.begin(too_long)


@pytest.mark.parametrize("quantization", ["auto", "int8"])
def test_little_is_in_memory_twice_while_a_model_is_loaded(tmp_path: Path, quantization: str) -> None:
    tensors = voxtral_files.random_tensors(PACKABLE)
    weights = open_voxtral("small", voxtral_files.write_huggingface(tmp_path, tensors, PACKABLE))
    largest = 4 * PACKABLE.n_vocab * PACKABLE.n_text_state
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    tracemalloc.start()
    model = MlxLanguage(weights, quantization=quantization)
    _, most_in_numpy = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    taken = mx.get_active_memory() - before
    assert taken > 4 * largest or quantization == "int8"
    assert mx.get_peak_memory() - before < taken + 2 * largest
    assert most_in_numpy < 2 * largest
    del model
