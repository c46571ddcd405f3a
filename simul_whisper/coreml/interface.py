"""Names and shapes by which our Core ML decoders and vocoders are called: what programs declare and callers rely on.

A decoder has three functions. `audio` projects the features of a window once; `prefill` reads PREFILL_TOKENS tokens at
a time, and `step` one. Their numbers are of the program's own type; only tokens and positions are int32. With n tokens,
n_text_ctx cached positions and N = padded_frames(dims) frames, where C is n_text_state and L the number of layers:

features (1, N, n_audio_state) -> audio_keys (L, N, 1, C), audio_values (L, C, 1, N).

tokens (1, n), the first of them at position (1,), and none, asked for or not, past the last of the n_text_ctx; mask,
added to the scores of self-attention: 0 where a token may look and MASKED elsewhere; audio_mask (1, N, 1, 1), likewise
for the frames that there are -> logits (1, n, n_vocab), and attention (1, N, n_alignment_heads, n), softmaxed.

From macOS 15 one package has the three as functions, and key_cache (L, n_text_ctx, 1, C), value_cache (L, C, 1,
n_text_ctx), audio_keys and audio_values are states of each: `audio` writes the last two, and empties the caches; its
one output, `ready` (1,), says nothing. The mask is (1, n_text_ctx, 1, n).

Before, they are three packages without states: all four are inputs, and the keys and values of the tokens are the
outputs new_keys (L, n, 1, C) and new_values (L, C, 1, n), for the caller to put into the caches. The mask is (1,
n_text_ctx + n, 1, n): cached positions first, then the tokens themselves.

An encoder and the projector behind it are one program, of windows of 30 s only: `Projection` says what it gives.

A vocoder has one function, all of float32: features (1, n_features, 1, N), and inside (1, 1, 1, N), 1 for the frames
that there are and 0 for those that only fill the program -> samples (1, 1, 1, N * hop). N is the program's.
"""

import math
from dataclasses import dataclass

from simul_whisper.weights.model import Dims

AUDIO, PREFILL, STEP = FUNCTIONS = "audio", "prefill", "step"
PREFILL_TOKENS = 32
MASKED = -1e4

FEATURES, READY = "features", "ready"
TOKENS, POSITION, MASK, AUDIO_MASK = "tokens", "position", "mask", "audio_mask"
KEY_CACHE, VALUE_CACHE, AUDIO_KEYS, AUDIO_VALUES = "key_cache", "value_cache", "audio_keys", "audio_values"
LOGITS, ATTENTION, NEW_KEYS, NEW_VALUES = "logits", "attention", "new_keys", "new_values"
INSIDE, SAMPLES = "inside", "samples"

# Sizes of states that the Neural Engine takes (apple/coremltools issue 2631).
_MULTIPLE = 32


@dataclass(frozen=True)
class Projection:
    """What makes features of an encoder into vectors that a language model reads among its tokens.

    Each n_joined frames, one after the other, become one vector of `width`: a linear layer, GELU, a linear layer.
    """

    n_joined: int
    width: int


def padded_frames(dims: Dims) -> int:
    """Return how many frames the decoder has room for: n_audio_ctx or a little more."""
    return _MULTIPLE * math.ceil(dims.n_audio_ctx / _MULTIPLE)
