"""From a checkpoint to the parameters of an MLX network, one tensor at a time, so that little is in memory twice.

Whisper's weights, which are smaller, are loaded by `simul_whisper.parameters`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.nn as nn

from simul_whisper.blas import mx
from simul_whisper.parameters import MLX_CACHE_BYTES
from simul_whisper.voxtral.checkpoint import VoxtralWeights
from simul_whisper.voxtral.settings import Packing
from simul_whisper.voxtral.stored import LazyTensors

_PACKED_PARTS = ("weight", "scales", "biases")

Parameters = list[tuple[str, mx.array]]


@dataclass(frozen=True)
class Numbers:
    """What weights become. dtype: of the arithmetic, and of all that is not packed.

    packing: of matrices that are not packed in the checkpoint; None leaves them so. unpacks: matrices that are packed
    there become plain ones.
    """

    dtype: mx.Dtype
    packing: Packing | None = None
    unpacks: bool = False


def fill(network: Any, weights: VoxtralWeights, prefix: str, numbers: Numbers) -> None:
    """Fill a network with the tensors under `prefix`, and freeze it."""
    # Unbounded, the cache of freed buffers grows to gigabytes in a long session.
    mx.set_cache_limit(MLX_CACHE_BYTES)
    stored = {path.removeprefix(prefix): each for path, each in weights.packings.items() if path.startswith(prefix)}
    made = {path: numbers.packing for path in _matrices(network) if numbers.packing and path not in stored}
    # What this makes of the numbers that a network begins with is never computed.
    _expect_packed(network, made if numbers.unpacks else stored | made)
    tensors = weights.tensors.only(prefix)
    for name in tensors:
        path, _, part = name.removeprefix(prefix).rpartition(".")
        if numbers.unpacks and path in stored and part in _PACKED_PARTS:
            found = _unpacked(tensors, prefix + path, path, stored[path], numbers) if part == "weight" else []
        elif path in made and part == "weight":
            found = _packed(_read(tensors, name), path, made[path], numbers.dtype)
        else:
            array = _read(tensors, name)
            found = [(f"{path}.{part}", array if array.dtype == mx.uint32 else array.astype(numbers.dtype))]
        mx.eval([array for _, array in found])
        network.load_weights(found, strict=False)
    network.freeze()


def widths_that_do_not_pack(network: Any, packing: Packing) -> str:
    """Return the widths of matrices that cannot be packed so, for people; "" when all can."""
    widths = {each.weight.shape[-1] for each in _matrices(network).values()}
    return ", ".join(str(width) for width in sorted(widths) if width % packing.group_size)


def _matrices(network: Any) -> dict[str, Any]:
    """Return the modules that can be packed, by path."""
    return {path: each for path, each in network.named_modules() if hasattr(each, "to_quantized")}


def _expect_packed(network: Any, packings: Mapping[str, Packing]) -> None:
    def arguments(path: str, _: Any) -> dict[str, int] | bool:
        packing = packings.get(path)
        return {"group_size": packing.group_size, "bits": packing.bits} if packing else False

    nn.quantize(network, class_predicate=arguments)


def _read(tensors: LazyTensors, name: str) -> mx.array:
    array = mx.array(tensors.as_stored(name))
    return array.view(mx.bfloat16) if tensors.is_bfloat16(name) else array


def _packed(matrix: mx.array, path: str, packing: Packing, dtype: mx.Dtype) -> Parameters:
    weight, scales, biases = mx.quantize(matrix, packing.group_size, packing.bits)
    parts = weight, scales.astype(dtype), biases.astype(dtype)
    return [(f"{path}.{part}", array) for part, array in zip(_PACKED_PARTS, parts, strict=True)]


def _unpacked(tensors: LazyTensors, name: str, path: str, packing: Packing, numbers: Numbers) -> Parameters:
    weight, scales, biases = (_read(tensors, f"{name}.{part}") for part in _PACKED_PARTS)
    scales, biases = scales.astype(numbers.dtype), biases.astype(numbers.dtype)
    return [(f"{path}.weight", mx.dequantize(weight, scales, biases, packing.group_size, packing.bits))]
