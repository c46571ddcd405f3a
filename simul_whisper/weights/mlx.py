"""Read Whisper from an mlx-community directory: config.json and one file of tensors, quantised or not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, shown
from simul_whisper.weights.checkpoint import Checkpoint, dims_from, heads_from, read_json
from simul_whisper.weights.model import Dims, Head, Tensors, check_dims, expected_shapes
from simul_whisper.weights.tensorfile import read_tensors

FILES = ("weights.safetensors", "weights.npz", "model.safetensors")

# Computed by the network, though some converters save it.
_POSITIONS = "encoder.positional_embedding"
_MOST_HEADS = 1 << 14


def read(directory: Path) -> Checkpoint:
    """Read an mlx-community directory. Raises WeightsError when it is damaged."""
    config = directory / "config.json"
    dims = dims_from(config, tuple(Dims.__dataclass_fields__))
    check_dims(str(config), dims)
    file = next((directory / name for name in FILES if (directory / name).exists()), directory / FILES[0])
    arrays = read_tensors(file)
    arrays.pop(_POSITIONS, None)
    heads = arrays.pop("alignment_heads", None)
    tensors = _dequantised(file, arrays, read_json(config).get("quantization"), expected_shapes(dims))
    quantized = any(name.endswith(".scales") for name in arrays)
    return Checkpoint(dims, tensors, _heads(file, heads), (file,), quantized)


def _heads(file: Path, heads: NDArray[Any] | None) -> tuple[Head, ...]:
    if heads is not None and heads.size > _MOST_HEADS:
        raise WeightsError(f"{file}: alignment_heads has shape {heads.shape}, expected (n, 2)")
    return heads_from(file, None if heads is None else heads.tolist())


def _dequantised(file: Path, arrays: Tensors, settings: object, shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Return the arrays with every `weight` that has `scales` and `biases` beside it unpacked."""
    found = {name: array for name, array in arrays.items() if not name.endswith((".scales", ".biases"))}
    for name in arrays:
        layer, _, part = name.rpartition(".")
        if part == "scales":
            found[f"{layer}.weight"] = _dequantise(file, arrays, layer, settings, shapes.get(f"{layer}.weight"))
    return found


def _dequantise(
    file: Path, arrays: Tensors, layer: str, settings: object, shape: tuple[int, ...] | None
) -> NDArray[np.float32]:
    """Unpack one matrix, if that gives the shape it should have."""
    try:
        packed = [arrays[f"{layer}.{part}"] for part in ("weight", "scales", "biases")]
        group_size, bits = _settings(settings)
        if shape is None or packed[0].dtype != np.uint32 or packed[0].shape != (shape[0], shape[1] * bits // 32):
            raise ValueError(f"got {packed[0].dtype} of {packed[0].shape}, expected {shape} in {bits} bits")
        weight, scales, biases = (mx.array(array) for array in packed)
        return np.asarray(mx.dequantize(weight, scales, biases, group_size, bits).astype(mx.float32))
    # What MLX raises for wrong shapes and types is documented nowhere.
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"{file}: {shown(layer)} cannot be dequantised with {shown(settings)}: {one_line(error)}"
        ) from error


def _settings(settings: object) -> tuple[int, int]:
    """Return the size of groups, and the bits of a number."""
    match settings:
        case {"group_size": 32 | 64 | 128 as group_size, "bits": 2 | 3 | 4 | 5 | 6 | 8 as bits}:
            return int(group_size), int(bits)
    raise ValueError("expected a group_size of 32, 64 or 128 and bits of 2 to 8")
