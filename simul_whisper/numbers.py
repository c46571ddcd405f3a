"""What is one word although it is written with marks inside: numbers, amounts, times, spelled names. Pure text."""

import re

# Single letters with hyphens or full stops: L-Y-V, U.S., p.m., z.B.
_SPELLED = re.compile(r"\W*(?:[^\W\d_][-.])+[^\W\d_]?[,;:?!]?")
_NUMBER_AT_END = re.compile(r"\d[.,:]?\Z")
_OF_NUMBER = re.compile(r"[.,:]?\d|[.,:%]")


def may_go_on(word: str) -> bool:
    """Whether a word, all that was read of it, is a number or is being spelled, so that more may belong to it.

    A number changes with what follows, "1,200" into "1,250"; a mark behind one may be a part of it or not.
    """
    return any(map(str.isdigit, word)) or bool(_SPELLED.fullmatch(word))


def continues_number(before: str, text: str) -> bool:
    """Whether a number at the end of one text goes on in the next, which tells where no spaces are written."""
    return bool(_NUMBER_AT_END.search(before) and _OF_NUMBER.match(text))
