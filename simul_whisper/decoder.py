"""The text decoder: extends tokens one step at a time and tells where each step looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.nn as nn
import mlx.utils
import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.encoders import Features
from simul_whisper.errors import BackendError
from simul_whisper.network import Cache, Decoder, KeysValues
from simul_whisper.weights.model import Head, Weights

_BITS = {"int8": 8, "int4": 4}
_QUANTIZATION_GROUP = 64
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

    def __init__(
        self, weights: Weights, device: str = "auto", quantization: str = "auto", *, fallback_to_float16: bool = True
    ) -> None:
        self.device = resolved_device(device)
        self._mx_device = mx.Device(mx.gpu if self.device == "gpu" else mx.cpu)
        self._heads: tuple[Head, ...] = weights.alignment_heads
        # Unbounded, the cache of freed buffers grows to gigabytes in a long session.
        mx.set_cache_limit(_MLX_CACHE_BYTES)
        with mx.stream(self._mx_device):
            self._network = Decoder(weights.dims)
            loaded = load_parameters(
                self._network, weights, "decoder.", self.device, quantization, fallback_to_float16=fallback_to_float16
            )
        self._dtype = loaded.dtype
        self.description = f"mlx ({loaded.description}, {self.device})"

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


@dataclass(frozen=True)
class Loaded:
    """dtype: of the network's arithmetic. description: of its weights, for people."""

    dtype: mx.Dtype
    description: str


def load_parameters(
    network: Any, weights: Weights, prefix: str, device: str, quantization: str, *, fallback_to_float16: bool
) -> Loaded:
    """Fill a network with the tensors under `prefix`, in the numbers asked for, and freeze it.

    On the CPU these are expanded to float32 at once, which is what runs fast there. Raises BackendError when the
    weights cannot be quantized and may not be float16 instead.
    """
    dtype = mx.float16 if device == "gpu" else mx.float32
    if quantization == "auto":
        quantization = "float16" if device == "gpu" else "float32"
    tensors = {name.removeprefix(prefix): value for name, value in weights.tensors.items() if name.startswith(prefix)}
    stored = mx.float32 if quantization == "float32" else mx.float16
    parameters = [(name, mx.array(value).astype(stored).astype(dtype)) for name, value in tensors.items()]
    network.update(mlx.utils.tree_unflatten(parameters))
    description = quantization
    if quantization in _BITS:
        description = _quantized(network, quantization, expanded=device == "cpu", or_float16=fallback_to_float16)
    network.freeze()
    mx.eval(network.parameters())
    return Loaded(dtype, description if device == "gpu" or quantization == "float32" else f"{description} as float32")


def _quantized(network: Any, quantization: str, *, expanded: bool, or_float16: bool) -> str:
    """Quantize the matrices of a network and return what they became."""
    matrices = [module for _, module in network.named_modules() if hasattr(module, "to_quantized")]
    widths = sorted({module.weight.shape[-1] for module in matrices})
    if any(width % _QUANTIZATION_GROUP for width in widths):
        reason = f"widths {', '.join(map(str, widths))} are not all multiples of {_QUANTIZATION_GROUP}"
        if not or_float16:
            raise BackendError(f"cannot make the weights {quantization}: {reason}; use quantization = float16")
        return f"float16, not {quantization}: {reason}"
    if not expanded:
        nn.quantize(network, _QUANTIZATION_GROUP, _BITS[quantization])
        return quantization
    for module in matrices:
        group, bits = _QUANTIZATION_GROUP, _BITS[quantization]
        module.weight = mx.dequantize(*mx.quantize(module.weight, group, bits), group, bits)
    return quantization


def resolved_device(device: str) -> str:
    gpu = mx.is_available(mx.gpu)
    if device == "gpu" and not gpu:
        raise BackendError("got decoder_device = gpu, but MLX has no GPU here; use auto or cpu")
    return "gpu" if gpu and device != "cpu" else "cpu"
