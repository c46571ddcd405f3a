"""Einstein's sums over two arrays, as products of matrices: NumPy's own does not call BLAS where there is a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
_MOST_CHARACTERS = 100


def einsum(values: Sequence[Array], equation: str) -> Array:
    """As MIL's operator. Raises ValueError where an equation fits no product of matrices, or the operands not it."""
    x, y = values
    plan = _product(equation)
    if (x.ndim, y.ndim) != (len(plan.x_axes), len(plan.y_axes)):
        raise ValueError(f"got operands of {x.ndim} and {y.ndim} dimensions for {equation}")
    x, y = x.transpose(plan.x_axes), y.transpose(plan.y_axes)
    n_batch, n_summed = plan.n_batch, plan.n_summed
    batch, summed, columns = y.shape[:n_batch], y.shape[n_batch : n_batch + n_summed], y.shape[n_batch + n_summed :]
    rows = x.shape[n_batch : x.ndim - n_summed]
    if x.shape != (*batch, *rows, *summed):
        raise ValueError(f"got operands of shapes {values[0].shape} and {values[1].shape} for {equation}")
    n = math.prod(summed)
    product = x.reshape(math.prod(batch), math.prod(rows), n) @ y.reshape(math.prod(batch), n, math.prod(columns))
    return product.reshape(*batch, *rows, *columns).transpose(plan.result_axes)


@dataclass(frozen=True)
class _Product:
    """An equation: x as batch, rows and summed dimensions, y as batch, summed and columns; and the result's order."""

    x_axes: tuple[int, ...]
    y_axes: tuple[int, ...]
    n_batch: int
    n_summed: int
    result_axes: tuple[int, ...]


@lru_cache(maxsize=64)
def _product(equation: str) -> _Product:
    if len(equation) > _MOST_CHARACTERS:
        raise ValueError(f"got an equation of {len(equation)} characters, expected at most {_MOST_CHARACTERS}")
    names, result = equation.replace(" ", "").split("->")
    x, y = names.split(",")
    batch = [name for name in x if name in y and name in result]
    summed = [name for name in x if name in y and name not in result]
    rows, columns = [name for name in x if name not in y], [name for name in y if name not in x]
    order = [*batch, *rows, *columns]
    return _Product(
        x_axes=tuple(x.index(name) for name in [*batch, *rows, *summed]),
        y_axes=tuple(y.index(name) for name in [*batch, *summed, *columns]),
        n_batch=len(batch),
        n_summed=len(summed),
        result_axes=tuple(order.index(name) for name in result),
    )
