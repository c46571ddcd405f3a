"""What a directory of weights says about its model, and what its readers share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper import foreign_files
from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import is_plain_path, one_line, shown
from simul_whisper.weights.model import Dims, Head, Tensors

_MOST_SHARDS = 256


@dataclass(frozen=True)
class Checkpoint:
    """One directory, translated.

    tensors: under canonical names, not yet checked against `dims`.
    alignment_heads: those that the directory itself names; empty when it names none.
    files: the weights file, or its shards in order. quantized: the tensors were expanded from fewer bits.
    """

    dims: Dims
    tensors: Tensors
    alignment_heads: tuple[Head, ...]
    files: tuple[Path, ...]
    quantized: bool = False


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file, {} when there is no such file. Raises WeightsError when it is damaged."""
    try:
        found = foreign_files.read_json(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: not valid JSON: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{file}: got a JSON {type(found).__name__}, expected an object")
    return found


def dims_from(file: Path, keys: tuple[str, ...]) -> Dims:
    """Return the dimensions that a config file gives under these keys, in the order of `Dims`."""
    config = read_json(file)
    numbers: list[Any] = [config.get(key) for key in keys]
    for key, number in zip(keys, numbers, strict=True):
        if type(number) is not int or number < 1:
            raise WeightsError(f"{file}: got {key} = {shown(number)}, expected a positive whole number")
    return Dims(*numbers)


def shard_names(index: Path) -> tuple[str, ...]:
    """Return the files that a model.safetensors.index.json names, in order; none when there is no such file.

    Raises WeightsError, also for a name that would leave the directory.
    """
    content = read_json(index)
    shards = content.get("weight_map", {})
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise WeightsError(f"{index}: got weight_map = {shown(shards)}, expected the file of each tensor")
    names = tuple(sorted(set(shards.values())))
    outside = [name for name in names if not is_plain_path(name) or not name.endswith(".safetensors")]
    if outside or len(names) > _MOST_SHARDS or (content and not names):
        wrong = shown(outside[0]) if outside else f"{len(names)} files"
        raise WeightsError(
            f"{index}: got {wrong} in weight_map, expected at most {_MOST_SHARDS} .safetensors files of this directory"
        )
    return names


def heads_from(file: Path, pairs: object) -> tuple[Head, ...]:
    """Return alignment heads as written in a config: a list of [layer, head], or null. Raises WeightsError."""
    found: list[Any] = [] if pairs is None else pairs if isinstance(pairs, list) else [None]
    if not all(isinstance(pair, list) and [type(number) for number in pair] == [int, int] for pair in found):
        raise WeightsError(f"{file}: got alignment_heads = {shown(pairs)}, expected [[layer, head], ...]")
    return tuple((layer, head) for layer, head in found)


def check_positions(file: Path, dims: Dims, positions: NDArray[Any]) -> None:
    """Raise WeightsError unless the encoder's positions (n_audio_ctx, n_audio_state) are Whisper's sinusoids."""
    shape = dims.n_audio_ctx, dims.n_audio_state
    if positions.shape != shape or not np.allclose(positions, _sinusoids(*shape), atol=1e-2):
        raise WeightsError(f"{file}: the encoder's positions are not Whisper's sinusoids; this model is not supported")


def _sinusoids(n_positions: int, n_state: int) -> NDArray[np.float64]:
    timescales = np.exp(-np.log(10000) / max(n_state // 2 - 1, 1) * np.arange(n_state // 2))
    angles = np.arange(n_positions)[:, None] * timescales
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
