"""Whose turn it is: real-time listeners first, and nobody has more of the computation than their share. Pure.

Every session has a virtual time, which goes on as it computes, faster the less it weighs; that of the queue is what a
session would have that always got its share. Whoever is not ahead of it is served by the age of its audio; else the one
that is least ahead. (Stoica and Abdel-Wahab, Earliest Eligible Virtual Deadline First, 1995.)
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

# What a listener who asks for little may have at once, in seconds of computation, before the others have more.
_CREDIT_S = 1.0
# Of audio that came faster than it was spoken, and of what is decoded for a flush.
_WEIGHT_OF_BACKLOG = 0.25
# Each holds what the decoder remembers of its window. Those who are within their share do not wait for that.
_MOST_BEGUN = 3


class Contender(Protocol):
    """A session that has something to do. virtual_s: seconds of computation, each counted once for each weight."""

    virtual_s: float

    @property
    def is_backlog(self) -> bool:
        """Whether nobody who listens in real time waits for it."""
        ...

    @property
    def has_begun(self) -> bool:
        """Whether a pass of it is under way."""
        ...

    @property
    def due_since(self) -> float:
        """When the oldest audio had come that it waits for: seconds, on any clock."""
        ...


_AnyContender = TypeVar("_AnyContender", bound=Contender)


class FairQueue:
    """Who is next, and what they have had. virtual_s: of whoever has always had exactly a share."""

    def __init__(self) -> None:
        self.virtual_s = 0.0
        self._waiting: Sequence[Contender] = ()

    def next(self, contenders: Sequence[_AnyContender]) -> _AnyContender:
        """Return whose turn it is, of all that have something to do; there is at least one."""
        for contender in contenders:
            if contender not in self._waiting:
                self._welcome(contender)
        self._waiting = contenders
        n_begun = sum(contender.has_begun for contender in contenders)
        return min(self._allowed(contenders, n_begun), key=self._rank)

    def charge(self, contender: Contender, cost_s: float) -> None:
        """Count a turn that took so many seconds of computation, while all that were named to `next` waited."""
        contender.virtual_s += cost_s / _weight(contender)
        self.virtual_s += cost_s / sum(_weight(each) for each in self._waiting)

    def _welcome(self, contender: Contender) -> None:
        """Whoever had nothing to do has saved up at most the credit, and with a backlog nothing."""
        credit_s = 0.0 if contender.is_backlog else _CREDIT_S
        contender.virtual_s = max(contender.virtual_s, self.virtual_s - credit_s)

    def _allowed(self, contenders: Sequence[_AnyContender], n_begun: int) -> Iterable[_AnyContender]:
        if n_begun < _MOST_BEGUN:
            return contenders
        return [each for each in contenders if each.has_begun or self._tier(each) == 0]

    def _rank(self, contender: Contender) -> tuple[int, float]:
        tier = self._tier(contender)
        return tier, contender.virtual_s if tier == 2 else contender.due_since

    def _tier(self, contender: Contender) -> int:
        if contender.virtual_s > self.virtual_s:
            return 2
        return 1 if contender.is_backlog else 0


def _weight(contender: Contender) -> float:
    return _WEIGHT_OF_BACKLOG if contender.is_backlog else 1.0
