"""Whose turn it is: real-time listeners first, drafts last, and nobody has more of the computation than their share.

It is pure. Every session has a virtual time, which goes on as it computes, faster the less it weighs. Who is not far
beyond the mean of all that wait is served by the age of its audio. Who is waits behind the others until it has nothing
to do; of these, the one that has had least is next. (Stoica and Abdel-Wahab, Earliest Eligible Virtual Deadline First,
1995)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

# In seconds of computation: what a listener has saved up at most who asked for little, and how far beyond the mean one
# may be who has asked for no more than the others.
_CREDIT_S = 1.0
_TOLERANCE_S = 0.5
# Of audio that came faster than it was spoken, and of what is decoded for a flush.
_WEIGHT_OF_BACKLOG = 0.25
# Each holds what the decoder remembers of its window. Only those beyond their share wait for that.
_MOST_BEGUN = 3


class Standing(Enum):
    """Of a session: just opened, so that nobody gets ahead of others by opening many; not far beyond the mean since it
    last had nothing to do; or beyond that.
    """

    NEW = "new"
    WITHIN = "within"
    BEYOND = "beyond"


@dataclass
class Share:
    """What a session has had, in seconds of computation. virtual_s: by its weight; None before its first turn."""

    virtual_s: float | None = None
    had_s: float = 0.0
    standing: Standing = Standing.NEW


class Contender(Protocol):
    """A session that has something to do."""

    share: Share

    @property
    def is_backlog(self) -> bool:
        """Whether nobody who listens in real time waits for it."""
        ...

    @property
    def is_again(self) -> bool:
        """Whether it is no new one, although it was just opened: it was lost elsewhere."""
        ...

    @property
    def has_begun(self) -> bool:
        """Whether a pass of it is under way."""
        ...

    @property
    def is_draft(self) -> bool:
        """Whether it would only show what is said before that is due: nobody waits for it."""
        ...

    @property
    def due_since(self) -> float:
        """When the oldest audio that it waits for had come: seconds, by any clock."""
        ...


_AnyContender = TypeVar("_AnyContender", bound=Contender)


class FairQueue(Generic[_AnyContender]):
    """Who is next, and what they have had."""

    def __init__(self) -> None:
        self._waiting: Sequence[_AnyContender] = ()
        self._mean_s = 0.0

    def next(self, contenders: Sequence[_AnyContender]) -> _AnyContender | None:
        """Return whose turn it is, of all that have something to do; None when nobody has, which is to be told, too."""
        for contender in contenders:
            if contender not in self._waiting:
                self._welcome(contender)
        self._waiting = contenders
        if not contenders:
            return None
        weights = [_weight(each) for each in contenders]
        virtual_s = sum(_virtual_s(each) * weight for each, weight in zip(contenders, weights, strict=True))
        self._mean_s = virtual_s / sum(weights)
        for contender in contenders:
            self._judge(contender)
        return min(_allowed(contenders), key=_rank)

    def beside(self, first: _AnyContender) -> list[_AnyContender]:
        """Return, in order, who may be served together with the one whose turn it is.

        Nobody waits longer for it who would come before them, and nobody rides along who is beyond their share.
        """
        if first.share.standing is Standing.BEYOND:
            return []
        rank, others = _rank(first)[0], [each for each in _allowed(self._waiting) if each is not first]
        equal = [each for each in others if each.share.standing is not Standing.BEYOND and _rank(each)[0] == rank]
        return sorted(equal, key=_rank)

    def charge(self, contender: Contender, cost_s: float) -> None:
        """Count a turn that took so many seconds of computation."""
        contender.share.virtual_s = _virtual_s(contender) + cost_s / _weight(contender)
        contender.share.had_s += cost_s

    def _welcome(self, contender: Contender) -> None:
        share = contender.share
        if share.virtual_s is None:
            share.virtual_s = self._mean_s
            share.standing = Standing.WITHIN if contender.is_again else Standing.NEW
            return
        credit_s = 0.0 if contender.is_backlog else _CREDIT_S
        share.virtual_s = max(share.virtual_s, self._mean_s - credit_s)
        share.standing = Standing.WITHIN

    def _judge(self, contender: Contender) -> None:
        share = contender.share
        is_far_beyond = _virtual_s(contender) > self._mean_s + _TOLERANCE_S
        if is_far_beyond or (share.standing is Standing.NEW and share.had_s > _TOLERANCE_S):
            share.standing = Standing.BEYOND


def _virtual_s(contender: Contender) -> float:
    assert contender.share.virtual_s is not None
    return contender.share.virtual_s


def _weight(contender: Contender) -> float:
    return _WEIGHT_OF_BACKLOG if contender.is_backlog else 1.0


def _allowed(contenders: Sequence[_AnyContender]) -> Sequence[_AnyContender]:
    """Leave out those that would begin one pass too many."""
    if sum(each.has_begun for each in contenders) < _MOST_BEGUN:
        return contenders
    return [each for each in contenders if each.has_begun or each.share.standing is not Standing.BEYOND]


def _rank(contender: Contender) -> tuple[int, float, float]:
    if contender.is_draft:
        return 3, contender.due_since, 0.0
    if contender.share.standing is not Standing.WITHIN:
        return 2, _virtual_s(contender), contender.due_since
    return (1 if contender.is_backlog else 0), contender.due_since, 0.0
