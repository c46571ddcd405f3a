"""A small encoder and decoder in MLX, whose parameters bear the names of CTranslate2's variables."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simul_whisper.blas import mx

Parameters = dict[str, mx.array]
_NO = -1e9


@dataclass(frozen=True)
class Dims:
    """Sizes of the network; the vocabulary is both languages'."""

    n_vocab: int
    n_state: int = 128
    n_heads: int = 2
    n_hidden: int = 256
    n_encoder_layers: int = 2
    n_decoder_layers: int = 2
    n_positions: int = 128


@dataclass(frozen=True)
class Batch:
    """Sentences as tokens, filled up with zeros.

    source: (n, n_source). source_mask: of the same shape, 0 where it is filled up. target_in, target_out: both
    (n, n_target), one the other shifted. target_mask: 0 where filled up. aligned: (n, n_target), the source position
    that the head which tells the truth shall look at.
    """

    source: mx.array
    source_mask: mx.array
    target_in: mx.array
    target_out: mx.array
    target_mask: mx.array
    aligned: mx.array


def new_parameters(dims: Dims, seed: int) -> Parameters:
    """Return random weights, by the names that CTranslate2 gives them."""
    rng = np.random.default_rng(seed)
    found: Parameters = {
        "embeddings": mx.array(rng.normal(0, dims.n_state**-0.5, (dims.n_vocab, dims.n_state)), mx.float32)
    }

    def linear(name: str, n_out: int, n_in: int) -> None:
        limit = math.sqrt(6 / (n_out + n_in))
        found[f"{name}/weight"] = mx.array(rng.uniform(-limit, limit, (n_out, n_in)), mx.float32)
        found[f"{name}/bias"] = mx.zeros(n_out)

    def norm(name: str) -> None:
        found[f"{name}/layer_norm/gamma"], found[f"{name}/layer_norm/beta"] = (
            mx.ones(dims.n_state),
            mx.zeros(dims.n_state),
        )

    for side, n_layers in (("encoder", dims.n_encoder_layers), ("decoder", dims.n_decoder_layers)):
        norm(side)
        for layer in (f"{side}/layer_{n}" for n in range(n_layers)):
            for part in ("self_attention", "attention", "ffn"):
                if part == "attention" and side == "encoder":
                    continue
                norm(f"{layer}/{part}")
            linear(f"{layer}/self_attention/linear_0", 3 * dims.n_state, dims.n_state)
            linear(f"{layer}/self_attention/linear_1", dims.n_state, dims.n_state)
            linear(f"{layer}/ffn/linear_0", dims.n_hidden, dims.n_state)
            linear(f"{layer}/ffn/linear_1", dims.n_state, dims.n_hidden)
            if side == "decoder":
                linear(f"{layer}/attention/linear_0", dims.n_state, dims.n_state)
                linear(f"{layer}/attention/linear_1", 2 * dims.n_state, dims.n_state)
                linear(f"{layer}/attention/linear_2", dims.n_state, dims.n_state)
    return found


def positions(dims: Dims) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return the sinusoids added to the embeddings, (n_positions, n_state)."""
    rates = np.exp(-math.log(10000) * np.arange(dims.n_state // 2) / (dims.n_state // 2 - 1))
    angles = np.arange(dims.n_positions)[:, None] * rates[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def loss(parameters: Parameters, dims: Dims, batch: Batch, aligning: float) -> mx.array:
    """Return the mean cross-entropy of the tokens, and `aligning` times that of the last layer's first head."""
    logits, attention = forward(parameters, dims, batch)
    n_tokens = batch.target_mask.sum()

    def mean_of(log_probabilities: mx.array, wanted: mx.array) -> mx.array:
        chosen = mx.take_along_axis(log_probabilities, wanted[..., None], axis=-1)[..., 0]
        return -(chosen * batch.target_mask).sum() / n_tokens

    log_probabilities = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return mean_of(log_probabilities, batch.target_out) + aligning * mean_of(mx.log(attention + 1e-9), batch.aligned)


def forward(parameters: Parameters, dims: Dims, batch: Batch) -> tuple[mx.array, mx.array]:
    """Return logits (n, n_target, n_vocab), and the last layer's first head's attention (n, n_target, n_source)."""
    look = _Layers(parameters, dims)
    hide = ((1 - batch.source_mask) * _NO)[:, None, None, :]
    states = look.embedded(batch.source)
    for layer in (f"encoder/layer_{n}" for n in range(dims.n_encoder_layers)):
        states = look.self_attention(layer, states, hide)
        states = look.ffn(layer, states)
    memory = look.norm("encoder", states)

    n_target = batch.target_in.shape[1]
    future = mx.triu(mx.full((n_target, n_target), _NO), k=1)[None, None]
    states, attention = look.embedded(batch.target_in), memory
    for layer in (f"decoder/layer_{n}" for n in range(dims.n_decoder_layers)):
        states = look.self_attention(layer, states, future)
        states, attention = look.attention(layer, states, memory, hide)
        states = look.ffn(layer, states)
    return _product(look.norm("decoder", states), parameters["embeddings"]), attention[:, 0]


def _product(states: mx.array, weight: mx.array) -> mx.array:
    """Return states times the transposed weight; as one flat product, or each sentence gets a gradient of its own."""
    return (states.reshape(-1, states.shape[-1]) @ weight.T).reshape(*states.shape[:-1], weight.shape[0])


class _Layers:
    """The parts of the network."""

    def __init__(self, parameters: Mapping[str, mx.array], dims: Dims) -> None:
        self._parameters, self._dims = parameters, dims
        self._positions = mx.array(positions(dims))

    def embedded(self, tokens: mx.array) -> mx.array:
        rows = self._parameters["embeddings"][tokens] * math.sqrt(self._dims.n_state)
        return rows + self._positions[: tokens.shape[1]]

    def norm(self, name: str, states: mx.array) -> mx.array:
        gamma, beta = (self._parameters[f"{name}/layer_norm/{part}"] for part in ("gamma", "beta"))
        return mx.fast.layer_norm(states, gamma, beta, 1e-6)

    def self_attention(self, layer: str, states: mx.array, mask: mx.array) -> mx.array:
        name = f"{layer}/self_attention"
        queries, keys, values = mx.split(self._linear(f"{name}/linear_0", self.norm(name, states)), 3, axis=-1)
        mixed, _ = self._attend(queries, keys, values, mask)
        return states + self._linear(f"{name}/linear_1", mixed)

    def attention(self, layer: str, states: mx.array, memory: mx.array, mask: mx.array) -> tuple[mx.array, mx.array]:
        """Return the states, and each head's attention."""
        name = f"{layer}/attention"
        queries = self._linear(f"{name}/linear_0", self.norm(name, states))
        keys, values = mx.split(self._linear(f"{name}/linear_1", memory), 2, axis=-1)
        mixed, weights = self._attend(queries, keys, values, mask)
        return states + self._linear(f"{name}/linear_2", mixed), weights

    def ffn(self, layer: str, states: mx.array) -> mx.array:
        hidden = self._linear(f"{layer}/ffn/linear_0", self.norm(f"{layer}/ffn", states))
        return states + self._linear(f"{layer}/ffn/linear_1", mx.maximum(hidden, 0))

    def _linear(self, name: str, states: mx.array) -> mx.array:
        return _product(states, self._parameters[f"{name}/weight"]) + self._parameters[f"{name}/bias"]

    def _attend(self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array) -> tuple[mx.array, mx.array]:
        n_head_state = self._dims.n_state // self._dims.n_heads

        def heads(states: mx.array) -> mx.array:
            return states.reshape(*states.shape[:2], self._dims.n_heads, n_head_state).transpose(0, 2, 1, 3)

        scores = heads(queries) @ heads(keys).transpose(0, 1, 3, 2) / math.sqrt(n_head_state) + mask
        weights = mx.softmax(scores, axis=-1)
        mixed = (weights @ heads(values)).transpose(0, 2, 1, 3)
        return mixed.reshape(*mixed.shape[:2], self._dims.n_state), weights
