"""Where pieces of a recording stand in time: as their timestamps say, which may have gaps, overlap, jump or be wrong.

It knows seconds, and nothing of files, codecs and samples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

# Timestamps are rounded, to milliseconds in webm, and jitter; what starts no further off continues what came before.
TOLERANCE_S = 0.05
# After what cannot be decoded, or was cut, the time is taken anew.
ROUNDING_S = 0.001
# A longer overlap, or one that reaches back to the recording's start, is another recording joined to this one.
MAX_OVERLAP_S = 10.0
RESTART_S = 0.5
# How much silence timestamps may create in all: so much, and so many times what was heard. More is allowed for a gap
# that ends before the end that the recording declares.
MAX_SILENCE_S, SILENCE_PER_HEARD = 600.0, 5.0
MAX_DECLARED_SILENCE_S, DECLARED_SILENCE_PER_HEARD = 3600.0, 20.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Piece(Generic[_T]):
    """A piece of a recording. start_s: what its timestamp says, counted from the recording's start; None for nothing.

    content: None where it cannot be decoded. is_damaged: whether a gap before it is known to be damage.
    """

    content: _T | None
    start_s: float | None
    duration_s: float
    is_damaged: bool = False


@dataclass(frozen=True)
class Place:
    """Where a piece goes: from start_s to end_s, without the first `cut_s` of it, after `gap_s` without any.

    is_apart: whether it does not simply continue the audio before.
    """

    start_s: float
    end_s: float
    gap_s: float = 0.0
    cut_s: float = 0.0
    is_apart: bool = False


@dataclass(frozen=True)
class Jump:
    """At `at_s`, timestamps jumped by `by_s` seconds, which was not followed: the times after it count on."""

    at_s: float
    by_s: float


class Timeline:
    """Places one piece after the other. declared_end_s: where the recording says that it ends; None when unknown."""

    def __init__(self, declared_end_s: float | None = None) -> None:
        self._declared_end_s = declared_end_s
        self.end_s = 0.0
        self.jumps: list[Jump] = []
        self._shift_s = 0.0
        self._first_s: float | None = None
        self._silence_s = self._heard_s = 0.0
        self._is_after_loss = False

    def place(self, piece: Piece[_T]) -> Place:
        """Return where the piece goes; what cannot be decoded takes its time too, as long as that is credible."""
        gap_s = self._gap_before(piece)
        cut_s = min(max(0.0, -gap_s), piece.duration_s)
        gap_s = max(0.0, gap_s)
        start_s, is_apart = self.end_s + gap_s, gap_s > 0 or cut_s > 0 or self._is_after_loss
        self.end_s = start_s
        self._silence_s += gap_s
        self._is_after_loss = piece.content is None or cut_s > 0
        lasts_s = piece.duration_s - cut_s
        if piece.content is None:
            lasts_s = lasts_s if self._is_credible(lasts_s) else 0.0
            self._silence_s += lasts_s
        else:
            self._heard_s += lasts_s
        self.end_s += lasts_s
        return Place(start_s, self.end_s, gap_s, cut_s, is_apart)

    def _gap_before(self, piece: Piece[_T]) -> float:
        """Return the seconds between what is placed and the piece; below zero for an overlap."""
        if piece.start_s is None:
            return 0.0
        if self._first_s is None:
            self._first_s = piece.start_s
        gap_s = piece.start_s + self._shift_s - self.end_s
        if abs(gap_s) <= (ROUNDING_S if self._is_after_loss else TOLERANCE_S):
            return 0.0
        if not (self._is_credible(gap_s) if gap_s > 0 else self._is_overlap(-gap_s, piece.start_s)):
            self.jumps.append(Jump(self.end_s, gap_s))
            self._shift_s -= gap_s
            return 0.0
        return gap_s

    def _is_credible(self, gap_s: float) -> bool:
        is_declared = self._declared_end_s is not None and self.end_s + gap_s <= self._declared_end_s + 1.0
        most_s = MAX_DECLARED_SILENCE_S if is_declared else MAX_SILENCE_S
        per_heard = DECLARED_SILENCE_PER_HEARD if is_declared else SILENCE_PER_HEARD
        return self._silence_s + gap_s <= most_s + per_heard * self._heard_s

    def _is_overlap(self, overlap_s: float, start_s: float) -> bool:
        assert self._first_s is not None
        is_restart = start_s - self._first_s < RESTART_S < overlap_s
        return overlap_s <= MAX_OVERLAP_S and not is_restart


def without_outliers(pieces: Iterable[Piece[_T]]) -> Iterator[Piece[_T]]:
    """Take the timestamp from a piece that has a wrong one: the next piece starts as if it were not so.

    Only a piece that is somewhere else than expected waits for the next one.
    """
    expected_s, odd = 0.0, None
    for piece in pieces:
        start_s = expected_s if piece.start_s is None else piece.start_s
        if odd is not None:
            assert odd.start_s is not None
            is_wrong = _is_near(start_s, expected_s + odd.duration_s)
            yield replace(odd, start_s=None) if is_wrong else odd
            expected_s = (expected_s if is_wrong else odd.start_s) + odd.duration_s
            odd = None
        if piece.start_s is None or _is_near(start_s, expected_s):
            yield piece
            expected_s = (expected_s if piece.start_s is None else start_s) + piece.duration_s
        else:
            odd = piece
    if odd is not None:
        yield odd


def _is_near(one_s: float, other_s: float) -> bool:
    return abs(one_s - other_s) <= TOLERANCE_S
