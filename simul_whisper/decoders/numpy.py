"""The text decoder in NumPy: for CPUs where MLX is slow.

A step is as fast as its weights come from memory. NumPy multiplies a matrix with one row at that speed; the products of
MLX on Linux, which are always those of two matrices, take four times as long, and its exponentials forty times.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from simul_whisper.decoders import Step
from simul_whisper.encoders import Features
from simul_whisper.network import Decoder
from simul_whisper.parameters import parameters_as_arrays
from simul_whisper.weights.model import Head, Weights

Array = NDArray[np.float32]

_EPSILON = 1e-5
# The error function: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
_ERF_P, _ERF_A = 0.3275911, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
# More rows than these are multiplied faster together, fewer one by one.
_FEW_ROWS = 3
# So many threads share a step at most: each part of it is short.
_MOST_THREADS = 4

KeysValues = tuple[Array, Array]
_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


@dataclass
class NumpyState:
    """A window: for each layer and share, keys and values of the audio, two of (n_head, head_dim, n_frames); and text.

    text: likewise two of (n_beams, n_head, n_text_ctx, head_dim), of which `length` positions are in use.
    """

    audio: list[list[KeysValues]]
    text: list[list[KeysValues]] = field(default_factory=list)
    length: int = 0


class NumpyDecoder:
    """Whisper's decoder in float32 on the CPU. quantization: rounds the weights, as for `MlxDecoder`."""

    def __init__(self, weights: Weights, quantization: str = "auto", *, fallback_to_float16: bool = True) -> None:
        parameters, description = parameters_as_arrays(
            Decoder(weights.dims), weights, "decoder.", quantization, fallback_to_float16=fallback_to_float16
        )
        dims = weights.dims
        self._dims = dims
        self._alignment_heads: tuple[Head, ...] = weights.alignment_heads
        self._embedding = parameters["token_embedding.weight"]
        self._positions = parameters["positional_embedding"]
        self._norm = _Norm(parameters, "ln")
        self._team = _Team(min(dims.n_text_head, _n_cpus(), _MOST_THREADS))
        self._embedding_parts = np.array_split(self._embedding, self._team.size)
        self._layers = [
            _Layer(parameters, f"blocks.{n}", dims.n_text_head, self._team) for n in range(dims.n_text_layer)
        ]
        self.description = f"numpy ({description}, cpu)"

    def begin(self, features: Features) -> NumpyState:
        shares = list(zip(*(layer.shares for layer in self._layers), strict=True))
        projected = self._team.each(lambda share: [layer.audio_keys_values(features) for layer in share], shares)
        return NumpyState([list(layer) for layer in zip(*projected, strict=True)])

    def step(self, state: NumpyState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        ids = np.array([list(beam) for beam in tokens])
        n_beams, n = ids.shape
        start, end = state.length, state.length + n
        if not state.text:
            state.text = [
                [share.room(n_beams, self._dims.n_text_ctx) for share in each.shares] for each in self._layers
            ]
        x: Array = self._embedding[ids] + self._positions[start:end]
        mask = np.triu(np.full((n, end), -np.inf, np.float32), start + 1) if n > 1 else None
        rows: dict[Head, Array] = {}
        for number, (layer, audio, text) in enumerate(zip(self._layers, state.audio, state.text, strict=True)):
            x, attention = layer(x, text, start, audio, mask)
            rows |= {head: attention[:, head[1]] for head in self._alignment_heads if head[0] == number}
        state.length = end
        asked = self._norm(x[:, [position % n for position in logits_at]])
        return Step(self._logits(asked), np.stack([rows[head] for head in self._alignment_heads], axis=1))

    def select(self, state: NumpyState, beams: Sequence[int], length: int | None = None) -> None:
        state.length = state.length if length is None else length
        if state.text and list(beams) != list(range(len(state.text[0][0][0]))):
            wanted = list(beams)
            state.text = [[(keys[wanted], values[wanted]) for keys, values in layer] for layer in state.text]

    def _logits(self, x: Array) -> Array:
        """x: (n_beams, n, n_state). Returns (n_beams, n, n_vocab)."""
        return np.concatenate(self._team.each(lambda part: _product(x, part.T), self._embedding_parts), axis=-1)


def _n_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Team:
    """Threads that work on a step together. They wait asleep; those of a BLAS spin, and take the cores from others."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._others = ThreadPoolExecutor(max(1, size - 1), "decoder")

    def each(self, work: Callable[[_Item], _Found], items: Sequence[_Item]) -> list[_Found]:
        """Return the work on every item; the caller does the first itself."""
        others = [self._others.submit(work, item) for item in items[1:]]
        return [work(items[0]), *(other.result() for other in others)]


class _Norm:
    def __init__(self, parameters: dict[str, Array], name: str) -> None:
        self._weight, self._bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]

    def __call__(self, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        scaled: Array = centred / np.sqrt(variance + np.float32(_EPSILON)) * self._weight + self._bias
        return scaled


class _Linear:
    """Products with the same input, whose outputs follow each other: of each, those of the outputs `part`.

    Some have no bias.
    """

    def __init__(self, parameters: dict[str, Array], names: Sequence[str], part: slice) -> None:
        # As (n_in, n_out), which is multiplied a little faster.
        weights = [parameters[f"{name}.weight"][part] for name in names]
        self._weight = np.ascontiguousarray(np.concatenate(weights).T)
        none = np.zeros(len(parameters[f"{names[0]}.weight"]), np.float32)
        self._bias = np.concatenate([parameters.get(f"{name}.bias", none)[part] for name in names])

    def __call__(self, x: Array) -> Array:
        product: Array = _product(x, self._weight) + self._bias
        return product

    def transposed(self, x: Array) -> Array:
        """x: (n, n_in). Returns (n_out, n)."""
        product: Array = self._weight.T @ x.T + self._bias[:, None]
        return product


class _Share:
    """What one thread does of a layer: some of the heads, and of the hidden units. The sum over all is the layer's.

    The biases of the sum are left to the layer.
    """

    def __init__(self, parameters: dict[str, Array], name: str, heads: slice, n_head: int) -> None:
        def share_of(n: int) -> slice:
            return slice(n * heads.start // n_head, n * heads.stop // n_head)

        def taken(part: str) -> Array:
            weight = parameters[f"{name}.{part}.weight"]
            return np.ascontiguousarray(weight[:, share_of(weight.shape[1])].T)

        def made(*parts: str) -> _Linear:
            n = len(parameters[f"{name}.{parts[0]}.weight"])
            return _Linear(parameters, [f"{name}.{part}" for part in parts], share_of(n))

        self._n_head = heads.stop - heads.start
        self._attn, self._attn_out = made("attn.query", "attn.key", "attn.value"), taken("attn.out")
        self._cross_query, self._cross_out = made("cross_attn.query"), taken("cross_attn.out")
        self._cross_keys_values = made("cross_attn.key", "cross_attn.value")
        self._mlp1, self._mlp2 = made("mlp1"), taken("mlp2")

    def room(self, n_beams: int, n_text_ctx: int) -> KeysValues:
        shape = n_beams, self._n_head, n_text_ctx, len(self._attn_out) // self._n_head
        return np.empty(shape, np.float32), np.empty(shape, np.float32)

    def audio_keys_values(self, features: Features) -> KeysValues:
        both = self._cross_keys_values.transposed(features)
        keys, values = both.reshape(2, self._n_head, -1, len(features))
        return keys, values

    def attend_text(self, x: Array, text: KeysValues, start: int, mask: Array | None) -> Array:
        end = start + x.shape[1]
        queries, *new = (self._by_head(part) for part in np.split(self._attn(x), 3, axis=-1))
        for stored, part in zip(text, new, strict=True):
            stored[:, :, start:end] = part
        keys, values = (stored[:, :, :end] for stored in text)
        mixed, _ = _attend(queries, keys.swapaxes(-1, -2), values, mask)
        return _product(_joined(mixed), self._attn_out)

    def attend_audio(self, x: Array, audio: KeysValues) -> tuple[Array, Array]:
        """Returns the weights too, (n_beams, n_head, n, n_frames)."""
        keys, values = audio
        mixed, attention = _attend(self._by_head(self._cross_query(x)), keys, values.swapaxes(-1, -2))
        return _product(_joined(mixed), self._cross_out), attention

    def feed_forward(self, x: Array) -> Array:
        return _product(_gelu(self._mlp1(x)), self._mlp2)

    def _by_head(self, x: Array) -> Array:
        return x.reshape(*x.shape[:2], self._n_head, -1).swapaxes(1, 2)


class _Layer:
    def __init__(self, parameters: dict[str, Array], name: str, n_head: int, team: _Team) -> None:
        self._team = team
        edges = [n_head * n // team.size for n in range(team.size + 1)]
        self.shares = [_Share(parameters, name, slice(*each), n_head) for each in pairwise(edges)]
        self._norms = [_Norm(parameters, f"{name}.{part}") for part in ("attn_ln", "cross_attn_ln", "mlp_ln")]
        self._biases = [parameters[f"{name}.{part}.bias"] for part in ("attn.out", "cross_attn.out", "mlp2")]

    def __call__(
        self, x: Array, text: list[KeysValues], start: int, audio: list[KeysValues], mask: Array | None
    ) -> tuple[Array, Array]:
        """Returns the output, shaped like x, and the cross-attention, (n_beams, n_head, n, n_frames)."""
        # What a token or two take is over before another thread has begun.
        each = self._team.each if x.shape[0] * x.shape[1] > _FEW_ROWS else _one_by_one
        reading = self._norms[0](x)
        mixed = each(lambda own: own[0].attend_text(reading, own[1], start, mask), _pairs(self.shares, text))
        x = x + self._biases[0] + sum(mixed)
        looking = self._norms[1](x)
        seen = each(lambda own: own[0].attend_audio(looking, own[1]), _pairs(self.shares, audio))
        x = x + self._biases[1] + sum(found for found, _ in seen)
        thinking = self._norms[2](x)
        x = x + self._biases[2] + sum(each(lambda share: share.feed_forward(thinking), self.shares))
        return x, np.concatenate([attention for _, attention in seen], axis=1)


def _one_by_one(work: Callable[[_Item], _Found], items: Sequence[_Item]) -> list[_Found]:
    return [work(item) for item in items]


def _pairs(shares: list[_Share], stored: list[KeysValues]) -> list[tuple[_Share, KeysValues]]:
    return list(zip(shares, stored, strict=True))


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
    """x times the normal distribution up to x, to 2e-7. SciPy's `erf` would not let other threads run beside it."""
    size = np.abs(x)
    t = 1 / (1 + size * np.float32(_ERF_P * 0.5**0.5))
    tail = np.full_like(x, _ERF_A[-1])
    for a in _ERF_A[-2::-1]:
        tail *= t
        tail += np.float32(a)
    tail *= t * np.exp(np.square(size) * np.float32(-0.5))
    tail *= size * np.float32(0.5)
    activated: Array = np.maximum(x, 0) - tail
    return activated
