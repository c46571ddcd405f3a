"""Read an .npz file: a zip of .npy files, each a header in the form of a Python literal and the numbers.

The header is matched and never evaluated, and nothing is unpickled.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.foreign_files import shown
from simul_whisper.weights.archive import Archive
from simul_whisper.weights.safetensors import checked_shape, widened

_START = re.compile(rb"\x93NUMPY([\x01-\x03])\x00")
_HEADER = re.compile(rb"\{'descr': '([<|]\w\d)', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,100})\),? ?\}\s*")
_MOST_HEADER_BYTES = 4096
# MLX writes bfloat16 as V2.
_BFLOAT16 = ("<V2", "|V2")
_TYPES = frozenset("<f2 <f4 <f8 <i2 <i4 <i8 <u2 <u4 <u8 |i1 |u1 |b1".split())


def read_npz(file: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file; bfloat16, which NumPy has not, as float32. Raises OSError or ValueError."""
    with Archive(file) as archive:
        return {name.removesuffix(".npy"): _array(name, archive.read(name)) for name in archive.names}


def _array(name: str, content: bytearray) -> NDArray[Any]:
    start = _START.match(content)
    n_length = 2 if start and start[1] == b"\x01" else 4
    at = 8 + n_length
    end = at + int.from_bytes(content[8:at], "little")
    header = _HEADER.fullmatch(content, at, end) if end - at <= _MOST_HEADER_BYTES else None
    if not start or not header or end > len(content):
        raise ValueError(f"{shown(name)} is no array of numbers")
    shape = checked_shape(name, [int(size) for size in header[3].split(b",") if size.strip()])
    written = header[1].decode()
    if written not in _TYPES and written not in _BFLOAT16:
        raise ValueError(f"{shown(name)} has unknown type {shown(written)}")
    dtype = np.dtype("<u2" if written in _BFLOAT16 else written)
    if len(content) - end != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{shown(name)} has {len(content) - end} bytes, expected {shape} of {dtype}")
    array = np.frombuffer(content, dtype, offset=end).reshape(shape, order="F" if header[2] == b"True" else "C")
    return widened(array) if written in _BFLOAT16 else np.require(array, requirements=["ALIGNED"])
