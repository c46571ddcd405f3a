"""Repeat loops: recognising text that only repeats itself, Whisper's commonest failure on padded audio."""

from collections.abc import Sequence

_MIN_REPEATS = 3
_MIN_REPEATED_TOKENS = 8
_LONGEST_PERIOD = 32


def repeated_tail(tokens: Sequence[int]) -> int:
    """Return how many tokens at the end only repeat the ones before them; 0 unless that makes a loop.

    A loop is a phrase said at least three times over at least eight tokens: "no no no" is not one.
    """
    for period in range(1, min(_LONGEST_PERIOD, len(tokens) // _MIN_REPEATS) + 1):
        matching = 0
        while matching < len(tokens) - period and tokens[-1 - matching] == tokens[-1 - matching - period]:
            matching += 1
        repeats = matching // period + 1
        if repeats >= _MIN_REPEATS and repeats * period >= _MIN_REPEATED_TOKENS:
            return matching
    return 0


def said_before(text: Sequence[int], next_token: int) -> int:
    """Return how many tokens at the end of `text` begin, together with `next_token`, what it has said before."""
    n = 0
    while n < len(text) // 2 and _occurs([*text[len(text) - n - 1 :], next_token], text[: len(text) - n - 1]):
        n += 1
    return n


def _occurs(part: Sequence[int], text: Sequence[int]) -> bool:
    return any(list(text[start : start + len(part)]) == part for start in range(len(text) - len(part) + 1))
