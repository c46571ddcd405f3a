"""Rounding float32 arrays to the values that float16 has, several times faster than NumPy's conversion there and back.

Adding and taking away 1.5 * 2^23 units of the last place leaves whole units, rounded to even as the hardware does.
"""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 15
_EXPONENT = np.uint32(0x7F800000)
_SMALLEST_NORMAL = np.float32(2.0**-14)
# From the power of two below a number to 1.5 * 2^23 units of its last place, of which float16 has ten binary ones.
_TO_MAGIC = np.float32(1.5 * 2**13)
_FIRST_INFINITE = 65520.0


def round_to_float16(x: NDArray[np.float32]) -> None:
    """Replace each number, in place, by the nearest of float16. x: float32, contiguous."""
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    flat = x.reshape(-1)
    for start in range(0, len(flat), _BLOCK):
        _round_block(flat[start : start + _BLOCK])


def _round_block(x: NDArray[np.float32]) -> None:
    if not (x.max() < _FIRST_INFINITE and x.min() > -_FIRST_INFINITE):
        # Infinities and what is not a number.
        with np.errstate(over="ignore"):
            x[:] = x.astype(np.float16)
        return
    magic = (x.view(np.uint32) & _EXPONENT).view(np.float32)
    np.maximum(magic, _SMALLEST_NORMAL, out=magic)
    magic *= _TO_MAGIC
    x += magic
    x -= magic
