"""Read a safetensors file: the size of a header, the header in JSON, and the tensors, which stay in the mapped file.

Nothing is taken from the file that its header does not place exactly: tensors follow each other without a gap and
without sharing a byte, from the end of the header to the end of the file.
"""

import io
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.foreign_files import MOST_JSON_BYTES, open_regular, parse_json, shown

_LENGTH_BYTES = 8
_MOST_DIMENSIONS = 4
_MOST_SIZE = 1 << 31
_DTYPES = {
    "BOOL": "<u1",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}


@dataclass(frozen=True)
class StoredTensor:
    """Where the numbers of a tensor are: from which byte of a file; dtype: as the format names it, such as BF16."""

    at: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def stored_as(self) -> np.dtype[Any]:
        """NumPy's type of the numbers; bfloat16, which it has not, is unsigned."""
        return np.dtype(_DTYPES[self.dtype])

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.stored_as.itemsize


def read_safetensors(file: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file; bfloat16, which NumPy has not, as float32. Raises OSError or ValueError."""
    with open_regular(file) as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        places = _places(stream, len(data))
    return {name: _tensor(data, each) for name, each in places.items()}


def stored_tensors(file: Path, most_bytes: int) -> dict[str, StoredTensor]:
    """Return where in a file each tensor is; only the header is read. Raises OSError or ValueError."""
    with open_regular(file, most_bytes) as stream:
        return _places(stream, os.fstat(stream.fileno()).st_size)


def _places(stream: io.BufferedReader, n_all: int) -> dict[str, StoredTensor]:
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    start = _LENGTH_BYTES + length
    if length > MOST_JSON_BYTES or start > n_all:
        raise ValueError(f"truncated: got {n_all} bytes with a header of {length}")
    header = parse_json(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"got the header {shown(header)}, expected an object")
    header.pop("__metadata__", None)
    places, at = dict[str, StoredTensor](), start
    for name, entry in sorted(header.items(), key=lambda item: _begin(*item)):
        found = StoredTensor(at, *_type(name, entry))
        end = at + found.n_bytes
        if entry["data_offsets"] != [at - start, end - start] or end > n_all:
            raise ValueError(
                f"{shown(name)} is at {shown(entry['data_offsets'])}, expected {found.n_bytes} bytes of the file"
            )
        places[name], at = found, end
    if at != n_all:
        raise ValueError(f"got {n_all} bytes, expected {at} for what the header names")
    return places


def _begin(name: str, entry: Any) -> int:
    match entry:
        case {"dtype": str(), "shape": list(), "data_offsets": [int(begin), int()]}:
            return begin
    raise ValueError(f"the header's {shown(name)} has no dtype, shape and data_offsets")


def _type(name: str, entry: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    dtype, shape = entry["dtype"], entry["shape"]
    if dtype not in _DTYPES:
        raise ValueError(f"{shown(name)} has unknown type {shown(dtype)}")
    return dtype, checked_shape(name, shape)


def checked_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Return a tensor's shape. Raises ValueError for one that no tensor of a model has, such as an empty one."""
    if len(shape) > _MOST_DIMENSIONS or not all(type(size) is int and 0 < size < _MOST_SIZE for size in shape):
        raise ValueError(f"{shown(name)} has shape {shown(shape)}, expected at most {_MOST_DIMENSIONS} sizes above 0")
    return tuple(shape)


def _tensor(data: mmap.mmap, stored: StoredTensor) -> NDArray[Any]:
    array = np.frombuffer(data, stored.stored_as, math.prod(stored.shape), stored.at).reshape(stored.shape)
    return widened(array) if stored.dtype == "BF16" else np.require(array, requirements=["ALIGNED"])


def widened(array: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return bfloat16 as float32, whose upper halves they are."""
    halves: NDArray[np.uint32] = array.astype(np.uint32)
    halves <<= 16
    return halves.view(np.float32)
