"""From weights to the parameters of an MLX network: on which device, and in which numbers."""

from dataclasses import dataclass
from typing import Any

import mlx.nn as nn
import mlx.utils
import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.errors import BackendError
from simul_whisper.weights.mapped import give_back
from simul_whisper.weights.model import Weights

_BITS = {"int8": 8, "int4": 4}
_QUANTIZATION_GROUP = 64
MLX_CACHE_BYTES = 64 * 1024 * 1024


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
    # Unbounded, the cache of freed buffers grows to gigabytes in a long session.
    mx.set_cache_limit(MLX_CACHE_BYTES)
    dtype = mx.float16 if device == "gpu" else mx.float32
    if quantization == "auto":
        quantization = "float16" if device == "gpu" else "float32"
    tensors = {name.removeprefix(prefix): value for name, value in weights.tensors.items() if name.startswith(prefix)}
    stored = mx.float32 if quantization == "float32" else mx.float16
    parameters = [(name, _parameter(value, stored, dtype)) for name, value in tensors.items()]
    network.update(mlx.utils.tree_unflatten(parameters))
    description = quantization
    if quantization in _BITS:
        description = _quantized(network, quantization, expanded=device == "cpu", or_float16=fallback_to_float16)
    network.freeze()
    mx.eval(network.parameters())
    return Loaded(dtype, description if device == "gpu" or quantization == "float32" else f"{description} as float32")


def _parameter(tensor: NDArray[Any], stored: mx.Dtype, dtype: mx.Dtype) -> mx.array:
    """Return a tensor as `dtype`, after rounding to `stored`, and give back what it was made of."""
    parameter = mx.array(np.require(tensor, requirements=["ALIGNED"])).astype(stored).astype(dtype)
    # Each at once, so that what is on the way is one tensor.
    mx.eval(parameter)
    give_back(tensor)
    return parameter


def _quantized(network: Any, quantization: str, *, expanded: bool, or_float16: bool) -> str:
    """Quantize the matrices of a network and return what they became."""
    matrices = [module for _, module in network.named_modules() if hasattr(module, "to_quantized")]
    widths = sorted({module.weight.shape[-1] for module in matrices})
    if any(width % _QUANTIZATION_GROUP for width in widths):
        reason = f"widths {', '.join(map(str, widths))} are not all multiples of {_QUANTIZATION_GROUP}"
        if not or_float16:
            raise BackendError(f"the weights cannot be {quantization}: {reason}; use quantization = float16")
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
