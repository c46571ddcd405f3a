"""Read Whisper from an mlx-community directory: config.json and one file of tensors, quantised or not."""

from pathlib import Path
from typing import Any

from simul_whisper.blas import mx
from simul_whisper.errors import WeightsError
from simul_whisper.weights.checkpoint import Checkpoint, dims_from, heads_from, read_json
from simul_whisper.weights.model import Dims
from simul_whisper.weights.tensorfile import as_numpy, read_tensors

FILES = ("weights.safetensors", "weights.npz", "model.safetensors")

# Computed by the network, though some converters save it.
_POSITIONS = "encoder.positional_embedding"


def read(directory: Path) -> Checkpoint:
    """Read an mlx-community directory. Raises WeightsError when it is damaged."""
    config = directory / "config.json"
    file = next(directory / name for name in FILES if (directory / name).exists())
    dims = dims_from(config, tuple(Dims.__dataclass_fields__))
    arrays = read_tensors(file)
    arrays.pop(_POSITIONS, None)
    heads = arrays.pop("alignment_heads", None)
    arrays = _dequantised(file, arrays, read_json(config).get("quantization") or {})
    tensors = {name: as_numpy(array) for name, array in arrays.items()}
    return Checkpoint(dims, tensors, heads_from(file, None if heads is None else heads.tolist()), (file,))


def _dequantised(file: Path, arrays: dict[str, mx.array], settings: dict[str, Any]) -> dict[str, mx.array]:
    """Return the arrays with every `weight` that has `scales` and `biases` beside it unpacked."""
    found = {name: array for name, array in arrays.items() if not name.endswith((".scales", ".biases"))}
    for name in arrays:
        layer, _, part = name.rpartition(".")
        if part == "scales":
            found[f"{layer}.weight"] = _dequantise(file, arrays, layer, settings)
    return found


def _dequantise(file: Path, arrays: dict[str, mx.array], layer: str, settings: dict[str, Any]) -> mx.array:
    try:
        weight, scales, biases = (arrays[f"{layer}.{part}"] for part in ("weight", "scales", "biases"))
        return mx.dequantize(weight, scales, biases, settings["group_size"], settings["bits"])
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{file}: {layer} cannot be dequantised with {settings}: {error}") from error
