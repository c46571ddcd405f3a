"""The text decoder: extends tokens one step at a time and tells where each step looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.utils
import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.encoders import Features
from simul_whisper.errors import BackendError
from simul_whisper.network import Cache, Decoder, KeysValues
from simul_whisper.weights.model import Head, Weights

_MLX_CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Step:
    """What the decoder says after reading tokens.

    logits: float32 (n_beams, n_asked, n_vocab), for the positions asked for.
    attention: float32 (n_beams, n_alignment_heads, n, n_frames), softmaxed; the row of a position tells where the
    decoder looked to predict the token *after* it.
    """

    logits: NDArray[np.float32]
    attention: NDArray[np.float32]


class TextDecoder(Protocol):
    """A decoder over one window; its state belongs to the caller."""

    def begin(self, features: Features) -> Any:
        """Return the state of an empty text over this window."""
        ...

    def step(self, state: Any, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        """Append tokens, (n_beams, n), to the text; logits for these positions among the n."""
        ...

    def select(self, state: Any, beams: Sequence[int], length: int | None = None) -> None:
        """Continue with these beams in this order, with only the first `length` tokens of each."""
        ...


@dataclass
class MlxState:
    """Caches of one window: audio keys and values per layer, shared by all beams, and the text's own."""

    audio: list[KeysValues]
    text: list[Cache]


class MlxDecoder:
    """Whisper's decoder in MLX: float16 on a GPU, float32 on the CPU, where half precision is slower."""

    def __init__(self, weights: Weights, device: str = "auto") -> None:
        self.device = resolved_device(device)
        self._mx_device = mx.Device(mx.gpu if self.device == "gpu" else mx.cpu)
        self._heads: tuple[Head, ...] = weights.alignment_heads
        # Unbounded, the cache of freed buffers grows to gigabytes in a long session.
        mx.set_cache_limit(_MLX_CACHE_BYTES)
        dtype = mx.float16 if self.device == "gpu" else mx.float32
        with mx.stream(self._mx_device):
            self._network = Decoder(weights.dims)
            load_parameters(self._network, weights, "decoder.", dtype)
        self._dtype = dtype
        self.description = f"mlx ({'float16' if self.device == 'gpu' else 'float32'}, {self.device})"

    def begin(self, features: Features) -> MlxState:
        with mx.stream(self._mx_device):
            audio = self._network.audio_keys_values(mx.array(features)[None].astype(self._dtype))
            return MlxState(audio, [Cache() for _ in audio])

    def step(self, state: MlxState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        with mx.stream(self._mx_device):
            hidden, attention = self._network(
                mx.array([list(beam) for beam in tokens]), state.text, state.audio, self._heads
            )
            logits = self._network.logits(hidden[:, mx.array([p % hidden.shape[1] for p in logits_at])])
            logits, attention = logits.astype(mx.float32), attention.astype(mx.float32)
            mx.eval(logits, attention)
        return Step(np.array(logits), np.array(attention))

    def select(self, state: MlxState, beams: Sequence[int], length: int | None = None) -> None:
        with mx.stream(self._mx_device):
            for cache in state.text:
                cache.select(mx.array(list(beams)))
                cache.length = cache.length if length is None else length


def release_thread() -> None:
    """Give back what MLX keeps for the calling thread; the thread's last use of any model.

    Every thread but the main one that has used a model calls it before it ends. Otherwise MLX gives back by itself
    while the thread is torn down, for which it needs Python, and a program that exits just then is aborted.
    """
    # Before this function, MLX kept nothing that needs it.
    if hasattr(mx, "clear_streams"):
        mx.clear_streams()


def load_parameters(network: Any, weights: Weights, prefix: str, dtype: mx.Dtype) -> None:
    """Fill a network with the tensors under `prefix`, converted to `dtype`."""
    tensors = {name.removeprefix(prefix): value for name, value in weights.tensors.items() if name.startswith(prefix)}
    parameters = [(name, mx.array(value).astype(dtype)) for name, value in tensors.items()]
    network.update(mlx.utils.tree_unflatten(parameters))
    network.freeze()
    mx.eval(network.parameters())


def resolved_device(device: str) -> str:
    gpu = mx.is_available(mx.gpu)
    if device == "gpu" and not gpu:
        raise BackendError("got decoder_device = gpu, but MLX has no GPU here; use auto or cpu")
    return "gpu" if gpu and device != "cpu" else "cpu"
