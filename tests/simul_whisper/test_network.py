"""The MLX network against the transformer of the textbook, written out in float64, with small random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.decoders.onnx import OnnxDecoder
from simul_whisper.encoders.mlx import MlxEncoder
from simul_whisper.mel import Mel
from simul_whisper.weights import Dims, Weights
from tests.simul_whisper.weights.build import random_tensors

DIMS = Dims(
    n_mels=6,
    n_audio_ctx=30,
    n_audio_state=32,
    n_audio_head=4,
    n_audio_layer=2,
    n_vocab=50,
    n_text_ctx=80,
    n_text_state=32,
    n_text_head=2,
    n_text_layer=3,
)
HEADS = ((2, 1), (0, 0), (2, 0), (1, 1))
Array = NDArray[np.float64]
Tensors = dict[str, Array]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return {name: 0.3 * value for name, value in random_tensors(DIMS, "float64").items()}


@pytest.fixture(scope="module")
def weights(tensors: Tensors) -> Weights:
    single = {name: value.astype(np.float32) for name, value in tensors.items()}
    return Weights("random", DIMS, single, HEADS, Path("tokenizer.json"), (Path("weights"),))


def linear(x: Array, tensors: Tensors, name: str) -> Array:
    return x @ tensors[f"{name}.weight"].T + tensors.get(f"{name}.bias", 0.0)


def norm(x: Array, tensors: Tensors, name: str) -> Array:
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    scaled: Array = (x - x.mean(axis=-1, keepdims=True)) / deviation
    return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def gelu(x: Array) -> Array:
    return np.asarray(x * 0.5 * (1 + erf(x / np.sqrt(2))))


def attention(
    x: Array, other: Array, tensors: Tensors, name: str, n_head: int, *, causal: bool = False
) -> tuple[Array, Array]:
    """Returns the output, (n, n_state), and the weights of every head, (n_head, n, n_other)."""
    query, key, value = (
        linear(each, tensors, f"{name}.{part}") for part, each in (("query", x), ("key", other), ("value", other))
    )
    size = x.shape[1] // n_head
    mixed, weights = [], []
    for head in range(n_head):
        part = slice(head * size, (head + 1) * size)
        scores = query[:, part] @ key[:, part].T / np.sqrt(size)
        if causal:
            scores[np.triu_indices(len(x), 1)] = -np.inf
        exp = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights.append(exp / exp.sum(axis=1, keepdims=True))
        mixed.append(weights[-1] @ value[:, part])
    return linear(np.concatenate(mixed, axis=1), tensors, f"{name}.out"), np.array(weights)


def feed_forward(x: Array, tensors: Tensors, block: str) -> Array:
    return linear(gelu(linear(norm(x, tensors, f"{block}.mlp_ln"), tensors, f"{block}.mlp1")), tensors, f"{block}.mlp2")


def convolution(x: Array, tensors: Tensors, name: str, stride: int) -> Array:
    """x: (n, n_in)."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    kernel = tensors[f"encoder.{name}.weight"]
    rows = [np.einsum("ki,oki->o", padded[at : at + 3], kernel) for at in range(0, len(x), stride)]
    return np.array(rows) + tensors[f"encoder.{name}.bias"]


def encoded(columns: Array, tensors: Tensors) -> Array:
    x = gelu(convolution(gelu(convolution(columns.T, tensors, "conv1", 1)), tensors, "conv2", 2))
    half = DIMS.n_audio_state // 2
    angles = np.arange(len(x))[:, None] / 10_000 ** (np.arange(half) / (half - 1))
    x = x + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for layer in range(DIMS.n_audio_layer):
        block = f"encoder.blocks.{layer}"
        normed = norm(x, tensors, f"{block}.attn_ln")
        x = x + attention(normed, normed, tensors, f"{block}.attn", DIMS.n_audio_head)[0]
        x = x + feed_forward(x, tensors, block)
    return norm(x, tensors, "encoder.ln_post")


def decoded(tokens: list[int], features: Array, tensors: Tensors) -> tuple[Array, Array]:
    """Returns logits, (n, n_vocab), and the attention of HEADS, (len(HEADS), n, n_frames)."""
    embedding = tensors["decoder.token_embedding.weight"]
    x = embedding[tokens] + tensors["decoder.positional_embedding"][: len(tokens)]
    rows: list[Any] = []
    for layer in range(DIMS.n_text_layer):
        block = f"decoder.blocks.{layer}"
        normed = norm(x, tensors, f"{block}.attn_ln")
        x = x + attention(normed, normed, tensors, f"{block}.attn", DIMS.n_text_head, causal=True)[0]
        normed = norm(x, tensors, f"{block}.cross_attn_ln")
        mixed, weights = attention(normed, features, tensors, f"{block}.cross_attn", DIMS.n_text_head)
        x = x + mixed
        x = x + feed_forward(x, tensors, block)
        rows.append(weights)
    logits = norm(x, tensors, "decoder.ln") @ embedding.T
    return logits, np.array([rows[layer][head] for layer, head in HEADS])


@pytest.mark.parametrize("n_hops", [2, 10, 60])
def test_the_encoder_is_that_of_the_textbook(n_hops: int, tensors: Tensors, weights: Weights) -> None:
    columns = np.random.default_rng(1).normal(size=(DIMS.n_mels, n_hops))
    features = MlxEncoder(weights, "cpu").encode(Mel(columns.astype(np.float32), n_hops // 2))
    assert features.shape == (n_hops // 2, DIMS.n_audio_state)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, encoded(columns, tensors), atol=1e-4)


@pytest.mark.parametrize("sizes", [[75], [70, 1, 1, 1, 1, 1], [1] * 75, [3, 61, 11]])
@pytest.mark.parametrize("kind", [MlxDecoder, OnnxDecoder])
def test_the_decoder_is_that_of_the_textbook(
    kind: type[Any], sizes: list[int], tensors: Tensors, weights: Weights
) -> None:
    """75 tokens: the cache grows on the way."""
    random = np.random.default_rng(2)
    features, tokens = random.normal(size=(20, DIMS.n_audio_state)), random.integers(0, DIMS.n_vocab, 75).tolist()
    decoder = kind(weights, quantization="float32")
    state, logits, rows, start = decoder.begin(features.astype(np.float32)), [], [], 0
    for size in sizes:
        step = decoder.step(state, [tokens[start : start + size]], logits_at=range(size))
        logits.append(step.logits[0])
        rows.append(step.attention[0])
        start += size
    expected_logits, expected_rows = decoded(tokens, features, tensors)
    np.testing.assert_allclose(np.concatenate(logits), expected_logits, atol=1e-3)
    np.testing.assert_allclose(np.concatenate(rows, axis=1), expected_rows, atol=1e-4)
