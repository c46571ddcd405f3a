"""The Whisper network in MLX: modules and nothing else. Parameter names are those of mlx-community's files."""

import math

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


class MultiHeadAttention(nn.Module):
    """Attention that also returns its weights, which no fused operator does."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(n_state, n_state, bias=False)
        self.value = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)

    def _heads(self, x: mx.array) -> mx.array:
        return x.reshape(*x.shape[:2], self.n_head, -1).transpose(0, 2, 1, 3)

    def keys_values(self, x: mx.array) -> KeysValues:
        """x: (n_batch, n, n_state). Returns two of (n_batch, n_head, n, head_dim)."""
        return self._heads(self.key(x)), self._heads(self.value(x))

    def attend(self, x: mx.array, keys_values: KeysValues, mask: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """x: (n_batch, n, n_state). Returns the output, of that shape, and weights (n_batch, n_head, n, n_keys)."""
        keys, values = keys_values
        queries = self._heads(self.query(x) * keys.shape[-1] ** -0.5)
        scores = queries @ keys.swapaxes(-1, -2)
        if mask is not None:
            scores = scores + mask
        weights = mx.softmax(scores, axis=-1, precise=True)
        mixed = (weights @ values).transpose(0, 2, 1, 3).reshape(x.shape)
        return self.out(mixed), weights


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
        queries = self.attn._heads(self.attn.query(normed))
        mixed = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=keys.shape[-1] ** -0.5)
        x = x + self.attn.out(mixed.transpose(0, 2, 1, 3).reshape(x.shape))
        return x + self.mlp2(nn.gelu(self.mlp1(self.mlp_ln(x))))


class DecoderBlock(nn.Module):
    """Self-attention over the text, cross-attention over the audio, then a feed-forward layer."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(n_state, n_head)
        self.attn_ln = nn.LayerNorm(n_state)
        self.cross_attn = MultiHeadAttention(n_state, n_head)
        self.cross_attn_ln = nn.LayerNorm(n_state)
        self.mlp1 = nn.Linear(n_state, 4 * n_state)
        self.mlp2 = nn.Linear(4 * n_state, n_state)
        self.mlp_ln = nn.LayerNorm(n_state)

    def __call__(
        self, x: mx.array, cache: Cache, audio: KeysValues, mask: mx.array | None
    ) -> tuple[mx.array, mx.array]:
        """Returns the output, shaped like x, and cross-attention weights (n_beams, n_head, n, n_frames)."""
        normed = self.attn_ln(x)
        mixed, _ = self.attn.attend(normed, cache.append(*self.attn.keys_values(normed)), mask)
        x = x + mixed
        mixed, weights = self.cross_attn.attend(self.cross_attn_ln(x), audio)
        x = x + mixed
        return x + self.mlp2(nn.gelu(self.mlp1(self.mlp_ln(x)))), weights


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
        start, n = caches[0].length, tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[start : start + n]
        mask = _causal_mask(start, n).astype(x.dtype) if n > 1 else None
        rows: dict[Head, mx.array] = {}
        for layer, (block, cache, keys_values) in enumerate(zip(self.blocks, caches, audio, strict=True)):
            x, weights = block(x, cache, keys_values, mask)
            rows |= {head: weights[:, head[1]] for head in heads if head[0] == layer}
        return self.ln(x), mx.stack([rows[head] for head in heads], axis=1)

    def logits(self, hidden: mx.array) -> mx.array:
        """hidden: (..., n_text_state). Returns (..., n_vocab)."""
        return self.token_embedding.as_linear(hidden)


def sinusoids(length: int, channels: int) -> mx.array:
    """Return the encoder's positional embedding, float32 (length, channels)."""
    scale = math.log(10_000) / (channels // 2 - 1)
    angles = mx.arange(length)[:, None] * mx.exp(-scale * mx.arange(channels // 2))[None, :]
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=1)


def _causal_mask(start: int, n: int) -> mx.array:
    """Return the additive mask for n new positions after `start` old ones, float32 (n, start + n)."""
    return mx.where(mx.arange(start + n)[None, :] > mx.arange(start, start + n)[:, None], -1e9, 0.0)
