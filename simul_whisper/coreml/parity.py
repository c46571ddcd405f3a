"""How near two encoders' features are: one number, and the worst cell."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_DB = 20.0
"""What is further away is nonsense; weights of four bits reach 30 dB."""


@dataclass(frozen=True)
class Parity:
    """psnr_db: peak of the reference over the root mean square error, in decibels; infinite when all is equal."""

    psnr_db: float
    largest_difference: float


def parity(features: NDArray[np.float32], reference: NDArray[np.float32]) -> Parity:
    """Compare two arrays of the same shape. What is not finite gives minus infinity decibels."""
    assert features.shape == reference.shape
    difference = np.abs(np.subtract(features, reference, dtype=np.float64))
    error, peak = math.sqrt(np.mean(np.square(difference))), float(np.abs(reference).max())
    largest = float(difference.max())
    if not math.isfinite(error):
        return Parity(-math.inf, largest)
    if error == 0:
        return Parity(math.inf, largest)
    return Parity(20 * math.log10(peak / error) if peak else -math.inf, largest)
