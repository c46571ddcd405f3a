"""What long work (download, assembly, conversion) reports while it runs."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` bytes of the work named by `stage`; finished when they are equal."""

    stage: str
    done: int
    total: int


ProgressHandler = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The handler for callers that show nothing."""
