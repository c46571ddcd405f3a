"""Tensors that stay in their files until they are asked for, and are read anew each time: a Voxtral has 9 to 48 GB."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, open_regular
from simul_whisper.weights.safetensors import StoredTensor, stored_tensors

MOST_FILE_BYTES = 128 << 30
"""Voxtral Small in one file takes 48 GB."""
# At once beside the tensor that is made of them.
_PIECE = 1 << 22
_BFLOAT16 = "BF16"
_INFINITE = 0x7F80  # bfloat16's exponent

Change = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class WeightsFile:
    """A safetensors file as it was when its header was read."""

    path: Path
    tensors: dict[str, StoredTensor]
    identity: tuple[int, int, int]


def open_file(path: Path) -> WeightsFile:
    """Read the header of a file. Raises WeightsError when it is missing, truncated or damaged."""
    try:
        return WeightsFile(path, stored_tensors(path, MOST_FILE_BYTES), _identity(path.stat()))
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: this file of the model is missing; fetch the model again") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {one_line(error)}; fetch or convert the model again") from error


@dataclass(frozen=True)
class LazyTensor:
    """One tensor. change: from how it lies in the file to our layout; keeps the type and the number of values."""

    file: WeightsFile
    stored: StoredTensor
    shape: tuple[int, ...]
    change: Change | None = None


class LazyTensors(Mapping[str, NDArray[Any]]):
    """Reads a tensor when it is asked for, and keeps none. Asking raises WeightsError when the file has changed, or
    the tensor holds NaN or infinite numbers.
    """

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return it as float16, float32 or, where it is quantised, uint32; bfloat16 as float32."""
        return self._read(name, widen=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def n_bytes(self, name: str) -> int:
        """Return what it takes in the file."""
        return self._tensors[name].stored.n_bytes

    def is_bfloat16(self, name: str) -> bool:
        return self._tensors[name].stored.dtype == _BFLOAT16

    def as_stored(self, name: str) -> NDArray[Any]:
        """Return it as it is in the file: bfloat16 as uint16 of the same bits, half as large as float32."""
        return self._read(name, widen=False)

    def only(self, start: str) -> "LazyTensors":
        """Return those whose names start so."""
        return LazyTensors({name: each for name, each in self._tensors.items() if name.startswith(start)})

    def _read(self, name: str, *, widen: bool) -> NDArray[Any]:
        found = self._tensors[name]
        try:
            array = _read(found.file, found.stored, widen=widen)
        except _NotFiniteError as error:
            raise WeightsError(
                f"{found.file.path}: {name} holds NaN or infinite numbers; fetch or convert the model again"
            ) from error
        return array if found.change is None else found.change(array)


class _NotFiniteError(Exception):
    """A tensor holds what no weight is."""


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(file: WeightsFile, stored: StoredTensor, *, widen: bool) -> NDArray[Any]:
    """Read the numbers of a tensor, bfloat16 as float32 if asked to widen it, without holding them twice."""
    widen = widen and stored.dtype == _BFLOAT16
    flat = np.empty(math.prod(stored.shape), np.uint32 if widen else stored.stored_as)
    try:
        with open_regular(file.path, MOST_FILE_BYTES) as stream:
            if _identity(os.fstat(stream.fileno())) != file.identity:
                raise ValueError("it has changed since the model was opened")
            stream.seek(stored.at)
            for start in range(0, len(flat), _PIECE):
                part = flat[start : start + _PIECE]
                piece = np.empty(len(part), stored.stored_as) if widen else part
                if stream.readinto(piece.data.cast("B")) < piece.nbytes:
                    raise ValueError("it is truncated")
                if not _is_finite(piece, stored.dtype):
                    raise _NotFiniteError
                if widen:
                    part[:] = piece
                    part <<= 16
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file.path}: cannot be read: {one_line(error)}; open the model again") from error
    return (flat.view(np.float32) if widen else flat).reshape(stored.shape)


def _is_finite(piece: NDArray[Any], dtype: str) -> bool:
    if dtype == _BFLOAT16:
        return bool(((piece & _INFINITE) != _INFINITE).all())
    return piece.dtype.kind != "f" or bool(np.isfinite(piece).all())
