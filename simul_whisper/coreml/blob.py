"""Core ML's weight file: constants too large for the program, each behind a 64-byte header.

It knows bytes and NumPy, not what the tensors are for. The file begins with how many there are (uint32). Header:
sentinel and type (uint32 each), then size and position in bytes (uint64 each); elements of less than a byte are packed
from the lowest bit up. Headers and tensors begin at multiples of 64 bytes.
"""

import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, open_regular

_HEADER_BYTES = 64
_SENTINEL = 0xDEADBEEF
# The types that weights have which nobody compressed, by their number in headers.
_WHOLE = {1: "float16", 2: "float32"}
_DTYPES: dict[str, type[np.generic]] = {
    "bool": np.bool_,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
_PACKED_BITS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}


class BlobFile:
    """One weight file, mapped into memory and read where it is asked for. Raises WeightsError when it is damaged.

    identity: the same for the same content, by all that the file system tells.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with open_regular(path) as stream:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                found = os.fstat(stream.fileno())
        except (OSError, ValueError) as error:  # an empty file is a ValueError
            reason = getattr(error, "strerror", None) or error
            raise WeightsError(
                f"{path}: cannot be read: {one_line(reason)}; convert or fetch the model again"
            ) from error
        self._bytes: NDArray[np.uint8] = np.frombuffer(mapped, np.uint8)
        self.identity = f"{found.st_dev}:{found.st_ino}:{found.st_mtime_ns}:{found.st_size}"

    def raw(self, offset: int) -> NDArray[np.uint8]:
        """Return the bytes behind the header at `offset`, uint8 (n,)."""
        _, start, size = self._header(offset)
        return self._slice(start, size, "a tensor")

    def all_raw(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Yield the type and the bytes, uint8 (n,), of every tensor; the type of compressed ones is "other"."""
        (n_tensors,) = self._slice(0, _HEADER_BYTES, "a header")[:4].view(np.uint32)
        offset = _HEADER_BYTES
        for _ in range(n_tensors):
            kind, start, size = self._header(offset)
            # Else the same bytes might be read without end.
            if start < offset + _HEADER_BYTES:
                raise WeightsError(
                    f"{self._path}: got a tensor before its header at byte {offset}; the file is damaged"
                )
            yield _WHOLE.get(kind, "other"), self._slice(start, size, "a tensor")
            offset = -(-(start + size) // _HEADER_BYTES) * _HEADER_BYTES

    def tensor(self, offset: int, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the tensor behind the header at `offset`; values of less than a byte come as (u)int8."""
        data = self.raw(offset)
        expected = packed_bytes(dtype, math.prod(shape))
        if len(data) != expected or not expected:
            raise WeightsError(
                f"{self._path}: got {len(data)} bytes at byte {offset}, expected {expected} for {dtype} {shape}"
            )
        return decoded(data, dtype, shape)

    def _header(self, offset: int) -> tuple[int, int, int]:
        """Return the type that a header tells, and where its tensor begins and how long it is, in bytes."""
        header = self._slice(offset, _HEADER_BYTES, "a header")
        sentinel, kind = (int(value) for value in header[:8].view(np.uint32))
        if sentinel != _SENTINEL:
            raise WeightsError(
                f"{self._path}: got {sentinel:#x} at byte {offset}, expected {_SENTINEL:#x}; the file is damaged"
            )
        size, start = (int(value) for value in header[8:24].view(np.uint64))
        return kind, start, size

    def _slice(self, start: int, size: int, what: str) -> NDArray[np.uint8]:
        if start + size > len(self._bytes):
            raise WeightsError(
                f"{self._path}: got {len(self._bytes)} bytes, expected {what} up to byte {start + size}; truncated"
            )
        return self._bytes[start : start + size]


def packed_bytes(dtype: str, n: int) -> int:
    """Return how many bytes n elements take. Raises WeightsError for a type that has no tensors."""
    if dtype in _PACKED_BITS:
        return -(-n * _PACKED_BITS[dtype] // 8)
    return n * np.dtype(numpy_type(dtype)).itemsize


def decoded(data: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the tensor whose bytes are `data`, uint8 (n,). Raises ValueError when they are too few."""
    if dtype not in _PACKED_BITS:
        return data.view(numpy_type(dtype)).reshape(shape)
    values = unpacked(data, _PACKED_BITS[dtype], math.prod(shape)).reshape(shape)
    if dtype.startswith("int"):
        values = values.astype(np.int8)
        values[values >= 1 << (_PACKED_BITS[dtype] - 1)] -= 1 << _PACKED_BITS[dtype]
    return values


def unpacked(data: NDArray[np.uint8], n_bits: int, n: int) -> NDArray[np.uint8]:
    """Return n numbers of `n_bits` bits each, uint8 (n,), packed from the lowest bit of the first byte.

    Raises ValueError when there are fewer.
    """
    if n * n_bits > 8 * len(data):
        raise ValueError(f"got {len(data)} bytes, expected {n} numbers of {n_bits} bits")
    bits = np.unpackbits(data, count=n * n_bits, bitorder="little").reshape(n, n_bits)
    return np.packbits(bits, axis=1, bitorder="little")[:, 0]


def numpy_type(dtype: str) -> type[np.generic]:
    """Return how NumPy holds this type: "uint4" -> uint8. Raises WeightsError for a type that has no tensors."""
    if dtype in _PACKED_BITS:
        return np.int8 if dtype.startswith("int") else np.uint8
    if dtype not in _DTYPES:
        raise WeightsError(f"got a tensor of {dtype}, expected one of {', '.join([*_DTYPES, *_PACKED_BITS])}")
    return _DTYPES[dtype]
