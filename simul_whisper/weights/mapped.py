"""A file of numbers in little endian, mapped, and a position in it that never leaves it; and its memory, given back."""

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import DTypeLike, NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, open_regular


class MappedFile:
    """Read it in order. Raises WeightsError, when made and by every method, for what is not there."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0
        try:
            with open_regular(file) as stream:
                self._data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file is a ValueError
            raise WeightsError(f"{file}: cannot be read: {one_line(error)}") from error

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def number(self, code: str) -> int:
        """Return a number; code: its type, as `struct` names it."""
        (value,) = struct.unpack_from("<" + code, self._data, self.skip(struct.calcsize("<" + code)))
        return int(value)

    def content(self, n_bytes: int) -> bytes:
        start = self.skip(n_bytes)
        return self._data[start : start + n_bytes]

    def array(self, dtype: DTypeLike, count: int) -> NDArray[Any]:
        """Return (count,) numbers or records, which stay in the file."""
        start = self.skip(count * np.dtype(dtype).itemsize)
        return np.frombuffer(self._data, dtype, count, start)

    def skip(self, n_bytes: int) -> int:
        """Advance, and return where the skipped bytes begin."""
        start, end = self._at, self._at + n_bytes
        if end > len(self._data):
            raise WeightsError(f"{self._file}: truncated: got {len(self._data)} bytes, expected at least {end}")
        self._at = end
        return start


def give_back(array: NDArray[Any]) -> None:
    """Let go of the memory that a tensor in a mapped file takes; where it is used again, it is read again.

    Does nothing for other arrays, nor where the system cannot.
    """
    owner = array.base
    while isinstance(owner, np.ndarray):
        owner = owner.base
    owner = owner.obj if isinstance(owner, memoryview) else owner
    if not (isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED")):
        return
    first, end = byte_bounds(array)
    start = first - byte_bounds(np.frombuffer(owner, np.uint8))[0]
    start_of_page = start - start % mmap.PAGESIZE
    owner.madvise(mmap.MADV_DONTNEED, start_of_page, start + (end - first) - start_of_page)
