"""The numbers of ggml's tensors: plain ones, and blocks of 32 in 4, 5 or 8 bits with a scale, and in some a minimum.

A number of n bits stands for scale * (number - 2^(n-1)), or for scale * number + minimum where the block has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# At a time, as float32: 2 MB.
_BLOCKS_AT_A_TIME = 1 << 14
_SCALE, _MINIMUM = ("scale", "<f2"), ("minimum", "<f2")
# Of the 32 numbers, the first half is in the lower four bits of these bytes, the second in the upper four.
_FOUR_BITS = ("four_bits", "u1", 16)
# One bit for each number, from the lowest.
_FIFTH_BITS = ("fifth_bits", "u1", 4)


@dataclass(frozen=True)
class TensorType:
    """How numbers are stored. record: what `n_numbers` of them are, one after the other, without padding."""

    name: str
    record: np.dtype[Any]
    n_numbers: int = 32

    @property
    def is_quantised(self) -> bool:
        return self.n_numbers > 1


TYPES: Mapping[int, TensorType] = {
    0: TensorType("f32", np.dtype("<f4"), 1),
    1: TensorType("f16", np.dtype("<f2"), 1),
    2: TensorType("q4_0", np.dtype([_SCALE, _FOUR_BITS])),
    3: TensorType("q4_1", np.dtype([_SCALE, _MINIMUM, _FOUR_BITS])),
    6: TensorType("q5_0", np.dtype([_SCALE, _FIFTH_BITS, _FOUR_BITS])),
    7: TensorType("q5_1", np.dtype([_SCALE, _MINIMUM, _FIFTH_BITS, _FOUR_BITS])),
    8: TensorType("q8_0", np.dtype([_SCALE, ("eight_bits", "i1", 32)])),
}
"""By the number that a file gives them."""


def dequantised(blocks: NDArray[Any]) -> NDArray[np.float16]:
    """Return the numbers of (n,) blocks: float16 (32 n,), infinite where they are too large for it."""
    numbers = np.empty((len(blocks), 32), np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(blocks), _BLOCKS_AT_A_TIME):
            some = slice(start, start + _BLOCKS_AT_A_TIME)
            numbers[some] = _expanded(blocks[some])
    return numbers.reshape(-1)


def _expanded(blocks: NDArray[Any]) -> NDArray[np.float32]:
    fields, scale = blocks.dtype.names or (), blocks["scale"].astype(np.float32)[:, None]
    if "eight_bits" in fields:
        return np.asarray(scale * blocks["eight_bits"])
    four_bits = blocks["four_bits"]
    numbers, middle = np.concatenate([four_bits & 15, four_bits >> 4], axis=1), 8
    if "fifth_bits" in fields:
        numbers |= np.unpackbits(blocks["fifth_bits"], axis=1, bitorder="little") << 4
        middle = 16
    if "minimum" in fields:
        return np.asarray(scale * numbers + blocks["minimum"].astype(np.float32)[:, None])
    return np.asarray(scale * (numbers.astype(np.float32) - middle))
