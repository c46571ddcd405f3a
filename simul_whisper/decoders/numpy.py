"""The text decoder in NumPy: for CPUs where MLX is slow.

A step is as fast as its weights come from memory. NumPy multiplies a matrix with one row at that speed; the products of
MLX on Linux, which are always those of two matrices, take four times as long, and its exponentials forty times.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from simul_whisper.decoders import Step
from simul_whisper.encoders import Features
from simul_whisper.network import Decoder
from simul_whisper.parameters import parameters_as_arrays
from simul_whisper.weights.model import Head, Weights

Array = NDArray[np.float32]

_EPSILON = 1e-5
# More rows than these are multiplied faster together, fewer one by one.
_FEW_ROWS = 3


@dataclass
class NumpyState:
    """A window: keys and values of the audio for each layer, two of (n_head, head_dim, n_frames); and of the text.

    text: for each layer two of (n_beams, n_head, n_text_ctx, head_dim), of which `length` positions are in use.
    """

    audio: list[tuple[Array, Array]]
    text: list[tuple[Array, Array]] = field(default_factory=list)
    length: int = 0


class NumpyDecoder:
    """Whisper's decoder in float32 on the CPU. quantization: rounds the weights, as for `MlxDecoder`."""

    def __init__(self, weights: Weights, quantization: str = "auto", *, fallback_to_float16: bool = True) -> None:
        parameters, description = parameters_as_arrays(
            Decoder(weights.dims), weights, "decoder.", quantization, fallback_to_float16=fallback_to_float16
        )
        self._dims = weights.dims
        self._heads: tuple[Head, ...] = weights.alignment_heads
        self._embedding = parameters["token_embedding.weight"]
        self._positions = parameters["positional_embedding"]
        self._norm = _Norm(parameters, "ln")
        self._layers = [
            _Layer(parameters, f"blocks.{n}", weights.dims.n_text_head) for n in range(weights.dims.n_text_layer)
        ]
        # Threads of our own wait asleep; those of a BLAS spin, and take the cores from everybody else.
        n_threads = min(len(self._layers), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
        self._threads = ThreadPoolExecutor(n_threads, "decoder")
        self._embedding_parts = np.array_split(self._embedding, n_threads)
        self.description = f"numpy ({description}, cpu)"

    def begin(self, features: Features) -> NumpyState:
        return NumpyState(list(self._threads.map(lambda layer: layer.audio_keys_values(features), self._layers)))

    def step(self, state: NumpyState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        ids = np.array([list(beam) for beam in tokens])
        n_beams, n = ids.shape
        start, end = state.length, state.length + n
        if not state.text:
            state.text = [self._room(n_beams) for _ in self._layers]
        x: Array = self._embedding[ids] + self._positions[start:end]
        mask = np.triu(np.full((n, end), -np.inf, np.float32), start + 1) if n > 1 else None
        rows: dict[Head, Array] = {}
        for number, (layer, audio, text) in enumerate(zip(self._layers, state.audio, state.text, strict=True)):
            x, attention = layer(x, text, start, audio, mask)
            rows |= {head: attention[:, head[1]] for head in self._heads if head[0] == number}
        state.length = end
        asked = self._norm(x[:, [position % n for position in logits_at]])
        return Step(self._logits(asked), np.stack([rows[head] for head in self._heads], axis=1))

    def select(self, state: NumpyState, beams: Sequence[int], length: int | None = None) -> None:
        state.length = state.length if length is None else length
        if state.text and list(beams) != list(range(len(state.text[0][0]))):
            state.text = [(keys[list(beams)], values[list(beams)]) for keys, values in state.text]

    def _logits(self, x: Array) -> Array:
        """x: (n_beams, n, n_state). Returns (n_beams, n, n_vocab)."""
        return np.concatenate(list(self._threads.map(lambda part: _product(x, part.T), self._embedding_parts)), axis=-1)

    def _room(self, n_beams: int) -> tuple[Array, Array]:
        n_head = self._dims.n_text_head
        shape = n_beams, n_head, self._dims.n_text_ctx, self._dims.n_text_state // n_head
        return np.empty(shape, np.float32), np.empty(shape, np.float32)


class _Norm:
    def __init__(self, parameters: dict[str, Array], name: str) -> None:
        self._weight, self._bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]

    def __call__(self, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        scaled: Array = centred / np.sqrt(variance + np.float32(_EPSILON)) * self._weight + self._bias
        return scaled


class _Linear:
    """One product for several layers of the same input, whose outputs follow each other; some have no bias."""

    def __init__(self, parameters: dict[str, Array], *names: str) -> None:
        # As (n_in, n_out), which is multiplied a little faster.
        self._weight = np.ascontiguousarray(np.concatenate([parameters[f"{name}.weight"] for name in names]).T)
        biases = [
            parameters.get(f"{name}.bias", np.zeros(len(parameters[f"{name}.weight"]), np.float32)) for name in names
        ]
        self._bias = np.concatenate(biases)

    def __call__(self, x: Array) -> Array:
        return _product(x, self._weight) + self._bias

    def transposed(self, x: Array) -> Array:
        """x: (n, n_in). Returns (n_out, n)."""
        return self._weight.T @ x.T + self._bias[:, None]


class _Layer:
    def __init__(self, parameters: dict[str, Array], name: str, n_head: int) -> None:
        self._n_head = n_head
        self._attn_ln = _Norm(parameters, f"{name}.attn_ln")
        self._attn = _Linear(parameters, *(f"{name}.attn.{part}" for part in ("query", "key", "value")))
        self._attn_out = _Linear(parameters, f"{name}.attn.out")
        self._cross_attn_ln = _Norm(parameters, f"{name}.cross_attn_ln")
        self._cross_query = _Linear(parameters, f"{name}.cross_attn.query")
        self._cross_keys_values = _Linear(parameters, f"{name}.cross_attn.key", f"{name}.cross_attn.value")
        self._cross_out = _Linear(parameters, f"{name}.cross_attn.out")
        self._mlp_ln = _Norm(parameters, f"{name}.mlp_ln")
        self._mlp1, self._mlp2 = _Linear(parameters, f"{name}.mlp1"), _Linear(parameters, f"{name}.mlp2")

    def audio_keys_values(self, features: Features) -> tuple[Array, Array]:
        both = self._cross_keys_values.transposed(features)
        keys, values = both.reshape(2, self._n_head, -1, len(features))
        return keys, values

    def __call__(
        self, x: Array, text: tuple[Array, Array], start: int, audio: tuple[Array, Array], mask: Array | None
    ) -> tuple[Array, Array]:
        """Returns the output, shaped like x, and the cross-attention, (n_beams, n_head, n, n_frames)."""
        end = start + x.shape[1]
        queries, *new = (self._heads(part) for part in np.split(self._attn(self._attn_ln(x)), 3, axis=-1))
        for stored, part in zip(text, new, strict=True):
            stored[:, :, start:end] = part
        keys, values = (stored[:, :, :end] for stored in text)
        mixed, _ = _attend(queries, keys.swapaxes(-1, -2), values, mask)
        x = x + self._attn_out(_joined(mixed))
        queries = self._heads(self._cross_query(self._cross_attn_ln(x)))
        mixed, attention = _attend(queries, audio[0], audio[1].swapaxes(-1, -2))
        x = x + self._cross_out(_joined(mixed))
        return x + self._mlp2(_gelu(self._mlp1(self._mlp_ln(x)))), attention

    def _heads(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], self._n_head, -1).swapaxes(1, 2)


def _attend(queries: Array, keys: Array, values: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """keys: (..., head_dim, n_keys), the others (..., n, head_dim). Returns the mixed values and the weights."""
    scores: Array = queries @ keys
    scores *= np.float32(queries.shape[-1] ** -0.5)
    if mask is not None:
        scores += mask
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed: Array = scores @ values
    return mixed, scores


def _joined(mixed: Array) -> Array:
    """(n_beams, n_head, n, head_dim) -> (n_beams, n, n_state)."""
    n_beams, _, n, _ = mixed.shape
    return mixed.swapaxes(1, 2).reshape(n_beams, n, -1)


def _product(x: Array, weight: Array) -> Array:
    """x: (n_beams, n, n_in), weight: (n_in, n_out). Returns (n_beams, n, n_out)."""
    rows = x.reshape(-1, x.shape[-1])
    found = np.stack([row @ weight for row in rows]) if len(rows) <= _FEW_ROWS else rows @ weight
    return found.reshape(*x.shape[:2], -1)


def _gelu(x: Array) -> Array:
    half = np.float32(0.5)
    activated: Array = x * (half + half * erf(x * np.float32(0.5**0.5)))
    return activated
