"""Voxtral's network in MLX, behind Whisper's encoder: the projector, and the Llama that reads audio and text.

Modules and nothing else; their parameters have the names of `dims`.
"""

import math
from typing import Any

import mlx.nn as nn

from simul_whisper.blas import mx
from simul_whisper.network import Cache
from simul_whisper.voxtral.dims import VoxtralDims
from simul_whisper.weights.model import Head

# From so many rows on, on the CPU, it is faster to unpack a matrix first.
_MANY_ROWS = 8


class PackedMatrix(nn.QuantizedLinear):
    """A packed matrix; on the CPU, where numbers are float32, a prompt is read thirty times as fast by unpacking it."""

    def __call__(self, x: mx.array) -> mx.array:
        """x: (..., n_in). Returns (..., n_out)."""
        if x.dtype != mx.float32 or math.prod(x.shape[:-1]) < _MANY_ROWS:
            return super().__call__(x)
        return x @ mx.dequantize(self.weight, self.scales, self.biases, self.group_size, self.bits).T


class Matrix(nn.Linear):
    """A linear layer without a bias."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def to_quantized(self, **packing: Any) -> PackedMatrix:
        return PackedMatrix.from_linear(self, **packing)


class Projector(nn.Module):
    """The encoder's frames -> the language model's positions, one for each `downsample` frames."""

    def __init__(self, dims: VoxtralDims) -> None:
        super().__init__()
        self._width = dims.downsample * dims.n_audio_state
        self.linear_1 = Matrix(self._width, dims.n_text_state)
        self.linear_2 = Matrix(dims.n_text_state, dims.n_text_state)

    def __call__(self, frames: mx.array) -> mx.array:
        """frames: (n_batch, n_frames, n_audio_state). Returns (n_batch, n_frames / downsample, n_text_state)."""
        together = frames.reshape(frames.shape[0], -1, self._width)
        return self.linear_2(nn.gelu(self.linear_1(together)))


class Attention(nn.Module):
    """Causal attention of many heads, several of which share keys and values, with rotary embedding."""

    def __init__(self, dims: VoxtralDims) -> None:
        super().__init__()
        self._head_dim, self._base = dims.head_dim, dims.rope_theta
        self._n_sharing = dims.n_text_head // dims.n_text_kv_head
        n_queries, n_keys = dims.n_text_head * dims.head_dim, dims.n_text_kv_head * dims.head_dim
        self.query = Matrix(dims.n_text_state, n_queries)
        self.key = Matrix(dims.n_text_state, n_keys)
        self.value = Matrix(dims.n_text_state, n_keys)
        self.out = Matrix(n_queries, dims.n_text_state)

    def __call__(self, x: mx.array, cache: Cache, heads: tuple[int, ...]) -> tuple[mx.array, list[mx.array]]:
        """x: (n_beams, n, n_text_state), at the positions after those in the cache.

        Returns the output, shaped like x, and for each of these heads its weights, (n_beams, n, n_positions).
        """
        start = cache.length
        queries, keys = (self._turned(self._heads(part(x)), start) for part in (self.query, self.key))
        keys, values = cache.append(keys, self._heads(self.value(x)))
        mask = "causal" if x.shape[1] > 1 else None
        scale = self._head_dim**-0.5
        mixed = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
        # The fused operator keeps its weights to itself; those of a few heads are cheap.
        weights = [_weights(queries[:, head] * scale, keys[:, head // self._n_sharing], start) for head in heads]
        return self.out(mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)), weights

    def _heads(self, x: mx.array) -> mx.array:
        return x.reshape(*x.shape[:2], -1, self._head_dim).transpose(0, 2, 1, 3)

    def _turned(self, x: mx.array, start: int) -> mx.array:
        return mx.fast.rope(x, self._head_dim, traditional=False, base=self._base, scale=1.0, offset=start)


class FeedForward(nn.Module):
    """A gated feed-forward layer."""

    def __init__(self, dims: VoxtralDims) -> None:
        super().__init__()
        self.gate = Matrix(dims.n_text_state, dims.n_text_mlp)
        self.up = Matrix(dims.n_text_state, dims.n_text_mlp)
        self.down = Matrix(dims.n_text_mlp, dims.n_text_state)

    def __call__(self, x: mx.array) -> mx.array:
        return self.down(nn.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    """Attention over all before, then a feed-forward layer."""

    def __init__(self, dims: VoxtralDims) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(dims.n_text_state, eps=dims.norm_eps)
        self.attention = Attention(dims)
        self.mlp_norm = nn.RMSNorm(dims.n_text_state, eps=dims.norm_eps)
        self.mlp = FeedForward(dims)

    def __call__(self, x: mx.array, cache: Cache, heads: tuple[int, ...]) -> tuple[mx.array, list[mx.array]]:
        """As `Attention`."""
        mixed, weights = self.attention(self.attention_norm(x), cache, heads)
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x)), weights


class Language(nn.Module):
    """Positions of text and audio -> hidden states, logits and where asked heads look."""

    def __init__(self, dims: VoxtralDims) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(dims.n_vocab, dims.n_text_state)
        self.layers = [Layer(dims) for _ in range(dims.n_text_layer)]
        self.norm = nn.RMSNorm(dims.n_text_state, eps=dims.norm_eps)
        if not dims.tied:
            self.output = Matrix(dims.n_text_state, dims.n_vocab)

    def caches(self) -> list[Cache]:
        """Return those of an empty text, one of each layer."""
        return [Cache() for _ in self.layers]

    def embed(self, tokens: mx.array) -> mx.array:
        """tokens: int (n_beams, n). Returns (n_beams, n, n_text_state); audio's are those of the projector."""
        return self.token_embedding(tokens)

    def __call__(
        self, x: mx.array, caches: list[Cache], heads: tuple[Head, ...] = ()
    ) -> tuple[mx.array, list[mx.array]]:
        """x: embeddings, (n_beams, n, n_text_state), at the positions after those in the caches.

        Returns normed hidden states, shaped like x, and for each of `heads` where it looks: its weights, softmaxed,
        (n_beams, n, n_positions) over all positions up to now.
        """
        looks: dict[Head, mx.array] = {}
        for number, (layer, cache) in enumerate(zip(self.layers, caches, strict=True)):
            asked = tuple(head for of_layer, head in heads if of_layer == number)
            x, weights = layer(x, cache, asked)
            looks |= {(number, head): each for head, each in zip(asked, weights, strict=True)}
        return self.norm(x), [looks[head] for head in heads]

    def logits(self, hidden: mx.array) -> mx.array:
        """hidden: (..., n_text_state). Returns (..., n_vocab)."""
        return self.output(hidden) if "output" in self else self.token_embedding.as_linear(hidden)


def _weights(queries: mx.array, keys: mx.array, start: int) -> mx.array:
    """Return one head's weights, (n_beams, n, n_keys). queries: (n_beams, n, head_dim), scaled, `start` before them."""
    scores = queries @ keys.swapaxes(-1, -2)
    places, positions = mx.arange(start, start + scores.shape[1]), mx.arange(scores.shape[2])
    scores = mx.where(positions[None] > places[:, None], -mx.inf, scores)
    return mx.softmax(scores, axis=-1, precise=True)
