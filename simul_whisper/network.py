"""The Whisper network in MLX: modules and nothing else. Parameter names are those of mlx-community's files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.nn as nn

from simul_whisper.blas import mx
from simul_whisper.weights.model import Dims, Head

KeysValues = tuple[mx.array, mx.array]


class Cache:
    """Keys and values of one layer's self-attention, float (n_beams, n_heads, length, head_dim).

    Memory grows in steps; `length` counts the positions in use, and lowering it forgets the rest.
    """

    _STEP = 64

    def __init__(self) -> None:
        self.length = 0
        self._store: KeysValues | None = None

    def append(self, keys: mx.array, values: mx.array) -> KeysValues:
        """Add (n_beams, n_heads, n, head_dim) at the end and return all keys and values."""
        start, self.length = self.length, self.length + keys.shape[2]
        if self._store is None or self.length > self._store[0].shape[2]:
            self._store = self._grown(keys), self._grown(values, index=1)
        stored_keys, stored_values = self._store
        stored_keys[:, :, start : self.length] = keys
        stored_values[:, :, start : self.length] = values
        return stored_keys[:, :, : self.length], stored_values[:, :, : self.length]

    def _grown(self, like: mx.array, index: int = 0) -> mx.array:
        n_beams, n_heads, _, head_dim = like.shape
        room = self._STEP * math.ceil(self.length / self._STEP)
        if self._store is None:
            return mx.zeros((n_beams, n_heads, room, head_dim), like.dtype)
        old = self._store[index]
        more = mx.zeros((n_beams, n_heads, room - old.shape[2], head_dim), like.dtype)
        return mx.concatenate([old, more], axis=2)

    def select(self, beams: mx.array) -> None:
        """Continue with these beams, int (n_beams,), in this order."""
        if self._store is not None:
            self._store = self._store[0][beams], self._store[1][beams]


@dataclass(frozen=True)
class TextRows:
    """A text that is read on, among others or alone.

    tokens: int (n_beams, n), at the positions after those in its caches. caches, audio: of each layer.
    """

    tokens: mx.array
    caches: list[Cache]
    audio: list[KeysValues]


@dataclass(frozen=True)
class _Part:
    """The n_beams * n rows of one text among those of all, and what they are read with in a layer."""

    n_beams: int
    n: int
    cache: Cache
    audio: KeysValues
    mask: mx.array | None


class MultiHeadAttention(nn.Module):
    """Attention that also returns its weights, which no fused operator does."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(n_state, n_state, bias=False)
        self.value = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)

    def heads(self, x: mx.array) -> mx.array:
        return x.reshape(*x.shape[:2], self.n_head, -1).transpose(0, 2, 1, 3)

    def keys_values(self, x: mx.array) -> KeysValues:
        """x: (n_batch, n, n_state). Returns two of (n_batch, n_head, n, head_dim)."""
        return self.heads(self.key(x)), self.heads(self.value(x))

    def mixed(
        self, queries: mx.array, keys_values: KeysValues, mask: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """queries: (n_batch, n, n_state). Returns values, of that shape, and weights (n_batch, n_head, n, n_keys)."""
        keys, values = keys_values
        scores = self.heads(queries * keys.shape[-1] ** -0.5) @ keys.swapaxes(-1, -2)
        if mask is not None:
            scores = scores + mask
        weights = mx.softmax(scores, axis=-1, precise=True)
        return (weights @ values).transpose(0, 2, 1, 3).reshape(queries.shape), weights


class EncoderBlock(nn.Module):
    """Self-attention over the audio, then a feed-forward layer."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(n_state, n_head)
        self.attn_ln = nn.LayerNorm(n_state)
        self.mlp1 = nn.Linear(n_state, 4 * n_state)
        self.mlp2 = nn.Linear(4 * n_state, n_state)
        self.mlp_ln = nn.LayerNorm(n_state)

    def __call__(self, x: mx.array) -> mx.array:
        normed = self.attn_ln(x)
        keys, values = self.attn.keys_values(normed)
        queries = self.attn.heads(self.attn.query(normed))
        mixed = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=keys.shape[-1] ** -0.5)
        x = x + self.attn.out(mixed.transpose(0, 2, 1, 3).reshape(x.shape))
        return x + self.mlp2(nn.gelu(self.mlp1(self.mlp_ln(x))))


class DecoderBlock(nn.Module):
    """Self-attention over the text, cross-attention over the audio, then a feed-forward layer.

    Texts of several windows are multiplied with its weights together, and attend each to their own.
    """

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(n_state, n_head)
        self.attn_ln = nn.LayerNorm(n_state)
        self.cross_attn = MultiHeadAttention(n_state, n_head)
        self.cross_attn_ln = nn.LayerNorm(n_state)
        self.mlp1 = nn.Linear(n_state, 4 * n_state)
        self.mlp2 = nn.Linear(4 * n_state, n_state)
        self.mlp_ln = nn.LayerNorm(n_state)

    def __call__(self, x: mx.array, parts: Sequence[_Part]) -> tuple[mx.array, list[mx.array]]:
        """x: (n_rows, n_state). Returns that, and of each part cross-attention (n_beams, n_head, n, n_frames)."""
        normed = self.attn_ln(x)
        rows = [_parted(layer(normed), parts) for layer in (self.attn.query, self.attn.key, self.attn.value)]
        mixed = list[mx.array]()
        for part, queries, keys, values in zip(parts, *rows, strict=True):
            text = part.cache.append(self.attn.heads(keys), self.attn.heads(values))
            mixed.append(self.attn.mixed(queries, text, part.mask)[0])
        x = x + self.attn.out(_joined(mixed))
        asking = _parted(self.cross_attn.query(self.cross_attn_ln(x)), parts)
        looks = [self.cross_attn.mixed(queries, part.audio) for part, queries in zip(parts, asking, strict=True)]
        x = x + self.cross_attn.out(_joined([heard for heard, _ in looks]))
        return x + self.mlp2(nn.gelu(self.mlp1(self.mlp_ln(x)))), [weights for _, weights in looks]


class Encoder(nn.Module):
    """Mel columns -> audio features."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(dims.n_mels, dims.n_audio_state, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(dims.n_audio_state, dims.n_audio_state, kernel_size=3, stride=2, padding=1)
        self._positions = sinusoids(dims.n_audio_ctx, dims.n_audio_state)
        self.blocks = [EncoderBlock(dims.n_audio_state, dims.n_audio_head) for _ in range(dims.n_audio_layer)]
        self.ln_post = nn.LayerNorm(dims.n_audio_state)

    def __call__(self, mel: mx.array) -> mx.array:
        """mel: (n_batch, n_hops, n_mels). Returns (n_batch, n_hops / 2, n_audio_state)."""
        x = nn.gelu(self.conv2(nn.gelu(self.conv1(mel))))
        x = x + self._positions[: x.shape[1]].astype(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class Decoder(nn.Module):
    """Tokens and audio features -> hidden states, logits and the alignment heads' attention."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(dims.n_vocab, dims.n_text_state)
        self.positional_embedding = mx.zeros((dims.n_text_ctx, dims.n_text_state))
        self.blocks = [DecoderBlock(dims.n_text_state, dims.n_text_head) for _ in range(dims.n_text_layer)]
        self.ln = nn.LayerNorm(dims.n_text_state)

    def audio_keys_values(self, features: mx.array) -> list[KeysValues]:
        """features: (1, n_frames, n_audio_state). Returns each layer's cross-attention keys and values."""
        projected = [block.cross_attn.keys_values(features) for block in self.blocks]
        # Laid out once by head: as transposed views they would be copied again at every step.
        return [(mx.contiguous(keys), mx.contiguous(values)) for keys, values in projected]

    def __call__(
        self, tokens: mx.array, caches: list[Cache], audio: list[KeysValues], heads: tuple[Head, ...]
    ) -> tuple[mx.array, mx.array]:
        """tokens: int (n_beams, n), at the positions after those in the caches.

        Returns normed hidden states (n_beams, n, n_text_state) and attention (n_beams, len(heads), n, n_frames).
        """
        ((hidden, attention),) = self.together([TextRows(tokens, caches, audio)], heads)
        return hidden, attention

    def together(self, texts: Sequence[TextRows], heads: tuple[Head, ...]) -> list[tuple[mx.array, mx.array]]:
        """Read several texts on, of any shapes; for each as above."""
        starts = [text.caches[0].length for text in texts]
        embedded = [self._embedded(text.tokens, start) for text, start in zip(texts, starts, strict=True)]
        masks = [_causal_mask(start, each.shape[1], each.dtype) for start, each in zip(starts, embedded, strict=True)]
        x = _joined(embedded)
        rows: list[dict[Head, mx.array]] = [{} for _ in texts]
        for layer, block in enumerate(self.blocks):
            parts = [
                _Part(text.tokens.shape[0], text.tokens.shape[1], text.caches[layer], text.audio[layer], mask)
                for text, mask in zip(texts, masks, strict=True)
            ]
            x, looks = block(x, parts)
            for row, weights in zip(rows, looks, strict=True):
                row |= {head: weights[:, head[1]] for head in heads if head[0] == layer}
        attention = [mx.stack([row[head] for head in heads], axis=1) for row in rows]
        return list(zip(_parted(self.ln(x), parts), attention, strict=True))

    def _embedded(self, tokens: mx.array, start: int) -> mx.array:
        return self.token_embedding(tokens) + self.positional_embedding[start : start + tokens.shape[1]]

    def logits(self, hidden: mx.array) -> mx.array:
        """hidden: (..., n_text_state). Returns (..., n_vocab)."""
        return self.token_embedding.as_linear(hidden)


def sinusoids(length: int, channels: int) -> mx.array:
    """Return the encoder's positional embedding, float32 (length, channels)."""
    scale = math.log(10_000) / (channels // 2 - 1)
    angles = mx.arange(length)[:, None] * mx.exp(-scale * mx.arange(channels // 2))[None, :]
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=1)


def _causal_mask(start: int, n: int, dtype: mx.Dtype) -> mx.array | None:
    """Return the additive mask for n new positions after `start` old ones, (n, start + n); None where one sees all."""
    if n == 1:
        return None
    mask = mx.where(mx.arange(start + n)[None, :] > mx.arange(start, start + n)[:, None], -1e9, 0.0)
    return mask.astype(dtype)


def _joined(parts: Sequence[mx.array]) -> mx.array:
    """parts: (n_beams, n, n_state) each. Returns all their rows, (n_rows, n_state)."""
    rows = [part.reshape(-1, part.shape[-1]) for part in parts]
    return rows[0] if len(rows) == 1 else mx.concatenate(rows)


def _parted(rows: mx.array, parts: Sequence[_Part]) -> list[mx.array]:
    """Undo `_joined`."""
    found, start = list[mx.array](), 0
    for part in parts:
        end = start + part.n_beams * part.n
        found.append(rows[start:end].reshape(part.n_beams, part.n, rows.shape[-1]))
        start = end
    return found
