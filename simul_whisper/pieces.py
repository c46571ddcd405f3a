"""Long computations in pieces: whoever has other work may do that in between, and may cut them short."""

from collections.abc import Generator
from typing import TypeVar

_Result = TypeVar("_Result")

Pieces = Generator[None, "bool | None", _Result]
"""Yields between pieces of computation. Whoever sends it True, there and from there on, cuts it short."""


def finished(work: Pieces[_Result]) -> _Result:
    """Do all the work at once, and return its result."""
    try:
        while True:
            next(work)
    except StopIteration as done:
        result: _Result = done.value
        return result
