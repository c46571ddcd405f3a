"""What a directory of weights says about its model, and what its readers share."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.weights.model import Dims, Head, Tensors


@dataclass(frozen=True)
class Checkpoint:
    """One directory, translated.

    tensors: under canonical names, not yet checked against `dims`.
    alignment_heads: those that the directory itself names; empty when it names none.
    files: the weights file, or its shards in order.
    """

    dims: Dims
    tensors: Tensors
    alignment_heads: tuple[Head, ...]
    files: tuple[Path, ...]


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file, {} when there is no such file. Raises WeightsError when it is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{file}: got a JSON {type(found).__name__}, expected an object")
    return found


def dims_from(file: Path, keys: tuple[str, ...]) -> Dims:
    """Return the dimensions that a config file gives under these keys, in the order of `Dims`."""
    config = read_json(file)
    numbers: list[Any] = [config.get(key) for key in keys]
    for key, number in zip(keys, numbers, strict=True):
        if type(number) is not int or number < 1:
            raise WeightsError(f"{file}: got {key} = {number!r}, expected a positive whole number")
    return Dims(*numbers)


def heads_from(file: Path, pairs: object) -> tuple[Head, ...]:
    """Return alignment heads as written in a config: a list of [layer, head], or null. Raises WeightsError."""
    try:
        return tuple((int(layer), int(head)) for layer, head in pairs or ())  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{file}: got alignment_heads = {pairs!r}, expected [[layer, head], ...]") from error


def check_positions(file: Path, positions: NDArray[Any]) -> None:
    """Raise WeightsError unless the encoder's positions (n_audio_ctx, n_audio_state) are Whisper's sinusoids."""
    shape = positions.shape
    if len(shape) != 2 or shape[1] % 2 or not np.allclose(positions, _sinusoids(*shape), atol=1e-2):
        raise WeightsError(f"{file}: the encoder's positions are not Whisper's sinusoids; this model is not supported")


def _sinusoids(n_positions: int, n_state: int) -> NDArray[np.float64]:
    timescales = np.exp(-np.log(10000) / max(n_state // 2 - 1, 1) * np.arange(n_state // 2))
    angles = np.arange(n_positions)[:, None] * timescales
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
