"""The network that is trained: Voxtral's architecture in its smallest size, as functions of named weights.

It is written for itself, to be differentiated, and shares no code with the one that runs: names are Hugging Face's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simul_whisper.blas import mx

Parameters = dict[str, mx.array]
_NO = -1e9
N_FRAMES, FRAMES_A_CELL = 1500, 4
N_CELLS = N_FRAMES // FRAMES_A_CELL


@dataclass(frozen=True)
class Dims:
    """Sizes of the network."""

    n_vocab: int
    n_mels: int = 128
    n_audio_state: int = 32
    n_audio_heads: int = 2
    n_audio_layers: int = 1
    n_state: int = 64
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 16
    n_hidden: int = 128
    n_layers: int = 3
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def n_cell(self) -> int:
        """Width of what the projector reads: the frames of a cell, side by side."""
        return FRAMES_A_CELL * self.n_audio_state


def new_parameters(dims: Dims, seed: int) -> Parameters:
    """Return random weights."""
    weights = _RandomWeights(seed)
    weights.add_audio(dims)
    weights.add_language(dims)
    return weights.found


class _RandomWeights:
    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.found: Parameters = {}

    def add_audio(self, dims: Dims) -> None:
        audio, mlp = dims.n_audio_state, 4 * dims.n_audio_state
        self._normal("audio_tower.conv1", audio, 3, dims.n_mels, has_bias=True)
        self._normal("audio_tower.conv2", audio, 3, audio, has_bias=True)
        for layer in (f"audio_tower.layers.{n}" for n in range(dims.n_audio_layers)):
            for part in ("q", "k", "v", "out"):
                # It hears enough without attention, which is hardly begun.
                self._normal(f"{layer}.self_attn.{part}_proj", audio, audio, by=0.3, has_bias=part != "k")
            self._normal(f"{layer}.fc1", mlp, audio, has_bias=True)
            self._normal(f"{layer}.fc2", audio, mlp, has_bias=True)
            self._norm(f"{layer}.self_attn_layer_norm", audio, has_bias=True)
            self._norm(f"{layer}.final_layer_norm", audio, has_bias=True)
        self._norm("audio_tower.layer_norm", audio, has_bias=True)
        self._normal("multi_modal_projector.linear_1", dims.n_state, dims.n_cell)
        self._normal("multi_modal_projector.linear_2", dims.n_state, dims.n_state)

    def add_language(self, dims: Dims) -> None:
        text, heads, kv_heads = dims.n_state, dims.n_heads * dims.head_dim, dims.n_kv_heads * dims.head_dim
        self._normal("language_model.model.embed_tokens", dims.n_vocab, text, by=0.5 * text**0.5)
        for layer in (f"language_model.model.layers.{n}" for n in range(dims.n_layers)):
            self._normal(f"{layer}.self_attn.q_proj", heads, text)
            self._normal(f"{layer}.self_attn.k_proj", kv_heads, text)
            self._normal(f"{layer}.self_attn.v_proj", kv_heads, text)
            self._normal(f"{layer}.self_attn.o_proj", text, heads)
            self._normal(f"{layer}.mlp.gate_proj", dims.n_hidden, text)
            self._normal(f"{layer}.mlp.up_proj", dims.n_hidden, text)
            self._normal(f"{layer}.mlp.down_proj", text, dims.n_hidden)
            self._norm(f"{layer}.input_layernorm", text)
            self._norm(f"{layer}.post_attention_layernorm", text)
        self._norm("language_model.model.norm", text)
        self._normal("language_model.lm_head", dims.n_vocab, text)

    def _normal(self, name: str, *shape: int, by: float = 1.0, has_bias: bool = False) -> None:
        n_in = math.prod(shape[1:])
        self.found[f"{name}.weight"] = mx.array(self._rng.normal(0, by * n_in**-0.5, shape), mx.float32)
        if has_bias:
            self.found[f"{name}.bias"] = mx.zeros(shape[0])

    def _norm(self, name: str, n: int, *, has_bias: bool = False) -> None:
        self.found[f"{name}.weight"] = mx.ones(n)
        if has_bias:
            self.found[f"{name}.bias"] = mx.zeros(n)


def sinusoids(n: int, width: int) -> mx.array:
    """Return the encoder's positions, float32 (n, width)."""
    rates = np.exp(-math.log(10000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(n)[:, None] * rates
    return mx.array(np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32))


def cells(parameters: Parameters, dims: Dims, mel: mx.array, first_frame: int = 0) -> mx.array:
    """mel: (n, n_hops, n_mels). Returns what the projector reads, (n, n_hops / 8, 4 n_audio_state).

    first_frame: the position of the first; in a whole window, 0.
    """
    look = _Layers(parameters)
    x = _gelu(look.convolution("audio_tower.conv1", mel, 1))
    x = _gelu(look.convolution("audio_tower.conv2", x, 2))
    x = x + sinusoids(N_FRAMES, dims.n_audio_state)[first_frame : first_frame + x.shape[1]]
    for layer in (f"audio_tower.layers.{n}" for n in range(dims.n_audio_layers)):
        normed = look.layer_norm(f"{layer}.self_attn_layer_norm", x)
        queries, keys, values = (
            _heads(look.linear(f"{layer}.self_attn.{part}_proj", normed), dims.n_audio_heads) for part in "qkv"
        )
        scale = (dims.n_audio_state // dims.n_audio_heads) ** -0.5
        mixed = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale)
        x = x + look.linear(f"{layer}.self_attn.out_proj", mixed.transpose(0, 2, 1, 3).reshape(x.shape))
        normed = look.layer_norm(f"{layer}.final_layer_norm", x)
        x = x + look.linear(f"{layer}.fc2", _gelu(look.linear(f"{layer}.fc1", normed)))
    return look.layer_norm("audio_tower.layer_norm", x).reshape(len(mel), -1, dims.n_cell)


def projected(parameters: Parameters, heard: mx.array) -> mx.array:
    """heard: (n, n_cells, 4 n_audio_state). Returns the embeddings of audio tokens, (n, n_cells, n_state)."""
    look = _Layers(parameters)
    hidden = _gelu(look.linear("multi_modal_projector.linear_1", heard))
    return look.linear("multi_modal_projector.linear_2", hidden)


def embedded(parameters: Parameters, tokens: mx.array) -> mx.array:
    return parameters["language_model.model.embed_tokens.weight"][tokens]


def language_model(parameters: Parameters, dims: Dims, states: mx.array) -> tuple[list[mx.array], list[mx.array]]:
    """states: (n, length, n_state).

    Returns the states after each layer, of the same shape and the last ones normed, and each layer's attention,
    (n, heads, length, length).
    """
    look, attention, after = _Layers(parameters), list[mx.array](), list[mx.array]()
    length = states.shape[1]
    future = mx.triu(mx.full((length, length), _NO), k=1)
    for layer in (f"language_model.model.layers.{n}" for n in range(dims.n_layers)):
        normed = look.rms_norm(f"{layer}.input_layernorm", states, dims.norm_eps)
        queries, keys = (
            _rotated(_heads(look.linear(f"{layer}.self_attn.{part}_proj", normed), n), dims.rope_theta)
            for part, n in (("q", dims.n_heads), ("k", dims.n_kv_heads))
        )
        values = _heads(look.linear(f"{layer}.self_attn.v_proj", normed), dims.n_kv_heads)
        keys, values = (mx.repeat(each, dims.n_heads // dims.n_kv_heads, axis=1) for each in (keys, values))
        weights = mx.softmax(queries @ keys.swapaxes(-1, -2) * dims.head_dim**-0.5 + future, axis=-1)
        attention.append(weights)
        mixed = (weights @ values).transpose(0, 2, 1, 3).reshape(*states.shape[:2], -1)
        states = states + look.linear(f"{layer}.self_attn.o_proj", mixed)
        normed = look.rms_norm(f"{layer}.post_attention_layernorm", states, dims.norm_eps)
        gate, up = (look.linear(f"{layer}.mlp.{part}_proj", normed) for part in ("gate", "up"))
        states = states + look.linear(f"{layer}.mlp.down_proj", gate * mx.sigmoid(gate) * up)
        after.append(states)
    after[-1] = look.rms_norm("language_model.model.norm", states, dims.norm_eps)
    return after, attention


def logits(parameters: Parameters, hidden: mx.array) -> mx.array:
    """hidden: (n, length, n_state). Returns (n, length, n_vocab)."""
    return _Layers(parameters).linear("language_model.lm_head", hidden)


class _Layers:
    """The parts of the network, by the names of their weights."""

    def __init__(self, parameters: Mapping[str, mx.array]) -> None:
        self._parameters = parameters

    def linear(self, name: str, states: mx.array) -> mx.array:
        weight = self._parameters[f"{name}.weight"]
        # As one flat product, or each sentence gets a gradient of its own.
        product = (states.reshape(-1, states.shape[-1]) @ weight.T).reshape(*states.shape[:-1], weight.shape[0])
        bias = self._parameters.get(f"{name}.bias")
        return product if bias is None else product + bias

    def convolution(self, name: str, states: mx.array, stride: int) -> mx.array:
        weight, bias = self._parameters[f"{name}.weight"], self._parameters[f"{name}.bias"]
        return mx.conv1d(states, weight, stride, padding=1) + bias

    def layer_norm(self, name: str, states: mx.array) -> mx.array:
        weight, bias = self._parameters[f"{name}.weight"], self._parameters[f"{name}.bias"]
        return mx.fast.layer_norm(states, weight, bias, 1e-5)

    def rms_norm(self, name: str, states: mx.array, epsilon: float) -> mx.array:
        return mx.fast.rms_norm(states, self._parameters[f"{name}.weight"], epsilon)


def _heads(states: mx.array, n_heads: int) -> mx.array:
    return states.reshape(*states.shape[:2], n_heads, -1).transpose(0, 2, 1, 3)


def _rotated(states: mx.array, theta: float) -> mx.array:
    """states: (n, heads, length, head_dim). Returns them turned by their positions, the halves of each as pairs."""
    half = states.shape[-1] // 2
    rates = theta ** (-mx.arange(half) / half)
    angles = mx.arange(states.shape[2])[:, None] * rates[None]
    cosines, sines = mx.cos(angles), mx.sin(angles)
    first, second = states[..., :half], states[..., half:]
    return mx.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)


def _gelu(states: mx.array) -> mx.array:
    return states * (1 + mx.erf(states / math.sqrt(2))) / 2
