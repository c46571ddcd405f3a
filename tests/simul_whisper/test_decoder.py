"""Both decoders with real weights: the same numbers, little changed by fewer bits; and which of them is taken."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import AlignAttConfig, BackendError, Model
from simul_whisper.blas import mx
from simul_whisper.decoders import Step, TextDecoder
from simul_whisper.decoders.choice import choose_decoder
from simul_whisper.decoders.fallback import Probe
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.decoders.onnx import OnnxDecoder
from simul_whisper.encoders import Features
from simul_whisper.mel import log_mel
from simul_whisper.weights import Weights, load_weights
from tests.conftest import Recording
from tests.simul_whisper.weights import build

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def features(tiny: Model, captions: Recording) -> Features:
    """Three seconds of speech and one of silence: 200 frames."""
    return tiny.encoder.encode(log_mel(captions.samples[:48_000], tiny.dims.n_mels, 16_000))


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights("tiny.en")


@pytest.fixture(scope="module", params=[MlxDecoder, OnnxDecoder])
def decoder(request: pytest.FixtureRequest, weights: Weights) -> TextDecoder:
    made: TextDecoder = request.param(weights, quantization="float32")
    return made


@pytest.fixture(scope="module")
def text(tiny: Model) -> list[int]:
    start = tiny.tokenizer.sot_sequence("en", "transcribe")
    return [*start, *tiny.tokenizer.encode(" Words appear on the screen while")]


def test_int8_says_nearly_the_same_however_it_is_cut(
    weights: Weights, decoder: TextDecoder, features: Features, text: list[int]
) -> None:
    """What is multiplied is rounded too, so that a difference in the last place may become one of a level."""
    rounded = OnnxDecoder(weights, "int8")
    exact = decoder.step(decoder.begin(features), [text], logits_at=range(len(text)))
    whole = rounded.step(rounded.begin(features), [text], logits_at=range(len(text)))
    state = rounded.begin(features)
    steps = [rounded.step(state, [[token]]) for token in text]
    for logits in (whole.logits, np.concatenate([step.logits for step in steps], axis=1)):
        assert np.abs(_probabilities(logits) - _probabilities(exact.logits)).max() < 0.1


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


def test_processors_without_int8_products_get_float32(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for words, expected in (({"sse2"}, "onnx (float32, cpu)"), ({"fpu", "avx2"}, "onnx (int8, cpu)")):
        monkeypatch.setattr("simul_whisper.decoders.onnx.processor_words", lambda words=words: words)
        assert OnnxDecoder(weights).description == expected


@pytest.mark.parametrize(("words", "is_exact"), [({"avx2"}, True), ({"avx2", "avx512_vnni"}, False)])
def test_audio_is_projected_in_int8_where_that_is_fast_and_does_not_overflow(
    words: set[str], is_exact: bool, weights: Weights, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simul_whisper.decoders.onnx.processor_words", lambda: words)
    # A frame of silence, and one that is much louder than the others.
    loudness = np.ones((len(features), 1), np.float32)
    loudness[:2, 0] = 0, 100
    exact = OnnxDecoder(weights, "float32").begin(features * loudness).audio
    found = OnnxDecoder(weights, "int8").begin(features * loudness).audio
    for name, expected in exact.items():
        by_frame = (0, 1) if "keys" in name else (0, 2)
        error = np.abs(found[name].numpy() - expected.numpy()).max(axis=by_frame)
        assert (error.max() == 0) == is_exact
        assert (error <= 0.1 * np.abs(expected.numpy()).max(axis=by_frame)).all(), name


@pytest.mark.parametrize("kind", [MlxDecoder, OnnxDecoder])
def test_heads_come_in_the_order_in_which_they_are_named(
    kind: type[Any], weights: Weights, features: Features, text: list[int]
) -> None:
    heads = ((3, 1), (0, 4), (3, 0), (1, 2))
    decoder = kind(replace(weights, alignment_heads=heads), quantization="float32")
    attention = decoder.step(decoder.begin(features), [text]).attention
    for n, head in enumerate(heads):
        decoder = kind(replace(weights, alignment_heads=(head,)), quantization="float32")
        only = decoder.step(decoder.begin(features), [text]).attention
        np.testing.assert_allclose(attention[:, [n]], only, atol=1e-6)


def _step(decoder: TextDecoder, features: Features, text: list[int]) -> Step:
    return decoder.step(decoder.begin(features), [text])


def test_both_decoders_say_the_same(weights: Weights, features: Features, text: list[int]) -> None:
    of_mlx = _step(MlxDecoder(weights), features, text)
    of_onnx = _step(OnnxDecoder(weights, "float32"), features, text)
    np.testing.assert_allclose(of_onnx.logits, of_mlx.logits, atol=TOLERANCE)
    np.testing.assert_allclose(of_onnx.attention, of_mlx.attention, atol=TOLERANCE)


def test_the_decoder_is_the_one_asked_for_or_the_faster_one_here(
    weights: Weights, features: Features, text: list[int]
) -> None:
    fast_in_mlx = sys.platform == "darwin" or mx.is_available(mx.gpu)
    for settings, expected in (
        ({}, MlxDecoder if fast_in_mlx else OnnxDecoder),
        ({"backend": "mlx"}, MlxDecoder),
        ({"decoder_backend": "mlx"}, MlxDecoder),
        ({"decoder_backend": "onnx", "backend": "mlx"}, OnnxDecoder),
    ):
        assert isinstance(choose_decoder(AlignAttConfig.from_mapping(settings), weights).load(), expected)
    # Where Core ML cannot run, which this is given none of.
    without = choose_decoder(AlignAttConfig(decoder_backend="coreml"), weights, probe=lambda: Probe(features, text))
    assert without.status.did_fallback
    assert type(without.load()) is type(choose_decoder(AlignAttConfig(), weights).load())
    with pytest.raises(BackendError, match="onnx runs only on the CPU, and decoder_device is gpu"):
        choose_decoder(AlignAttConfig(decoder_backend="onnx", decoder_device="gpu"), weights)


@pytest.mark.parametrize("backend", ["mlx", "onnx"])
def test_the_preset_of_most_performance_takes_no_fewer_bits_than_is_best_here(weights: Weights, backend: str) -> None:
    on_gpu = backend == "mlx" and mx.is_available(mx.gpu)
    preset = AlignAttConfig.preset("max_performance", decoder_backend=backend)
    plain = AlignAttConfig(decoder_backend=backend, quantization="int8" if on_gpu else "auto")
    assert choose_decoder(preset, weights).description == choose_decoder(plain, weights).description
    assert "int4" not in choose_decoder(preset, weights).description


@pytest.mark.skipif(mx.is_available(mx.gpu), reason="MLX has a GPU here")
def test_a_gpu_that_is_not_there_is_refused(weights: Weights) -> None:
    with pytest.raises(BackendError, match="no GPU"):
        MlxDecoder(weights, "gpu")


@pytest.mark.parametrize(("quantization", "tolerance"), [("float16", 1e-5), ("int8", 0.5), ("int4", 20.0)])
def test_fewer_bits_change_the_logits_little(
    decoder: TextDecoder, weights: Weights, features: Features, text: list[int], quantization: str, tolerance: float
) -> None:
    kind: Any = type(decoder)
    rounded = kind(weights, quantization=quantization)
    assert quantization in rounded.description
    expected = decoder.step(decoder.begin(features), [text]).logits
    found = rounded.step(rounded.begin(features), [text]).logits
    difference = np.abs(found - expected).max()
    # The files hold float16.
    assert (difference > 0) == (quantization != "float16")
    assert difference < tolerance
    assert quantization == "int4" or found.argmax() == expected.argmax()


def test_without_onnxruntime_mlx_decodes(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert isinstance(choose_decoder(AlignAttConfig(), weights).load(), MlxDecoder)
    monkeypatch.setitem(sys.modules, "simul_whisper.decoders.onnx", None)
    with pytest.raises(BackendError, match=r"cannot be used: .*; pip install 'simul-whisper\[cpu\]'"):
        choose_decoder(AlignAttConfig(decoder_backend="onnx"), weights)


@pytest.mark.parametrize(("quantization", "tolerance"), [("int8", 0.05), ("int4", 0.5)])
def test_any_width_is_quantized_in_blocks(quantization: str, tolerance: float) -> None:
    """The last block of a row is not full."""
    dims = replace(build.DIMS, n_text_state=72)
    odd = Weights("odd", dims, build.random_tensors(dims), build.HEADS, Path("tokenizer.json"), (Path("model.bin"),))
    features = np.random.default_rng(0).standard_normal((6, 72), np.float32)
    exact, rounded = OnnxDecoder(odd, "float16"), OnnxDecoder(odd, quantization)
    expected = exact.step(exact.begin(features), [[0, 3]]).logits
    found = rounded.step(rounded.begin(features), [[0, 3]]).logits
    assert 0 < np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_weights_that_cannot_be_quantized_become_float16_or_are_refused() -> None:
    dims = replace(build.DIMS, n_text_state=32)
    odd = Weights("odd", dims, build.random_tensors(dims), build.HEADS, Path("tokenizer.json"), (Path("model.bin"),))
    decoder = MlxDecoder(odd, quantization="int8")
    assert "float16, not int8: widths" in decoder.description
    step = decoder.step(decoder.begin(np.zeros((6, 32), np.float32)), [[0]])
    assert np.isfinite(step.logits).all()
    with pytest.raises(BackendError, match="the weights cannot be int8: widths"):
        MlxDecoder(odd, quantization="int8", fallback_to_float16=False)
