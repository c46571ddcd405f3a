"""Repeat loops: recognising text that only repeats itself, Whisper's commonest failure on padded audio.

People repeat themselves too: no, no, no; a refrain; an announcement. What they say again is read from later audio, what
a decoder writes again from audio that it has read.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from simul_whisper.alignatt import AlignedToken

BEFORE_WINDOW = -(1 << 20)
"""Frame of tokens that were read from audio before the window."""

_MIN_REPEATS = 3
_MIN_REPEATED_TOKENS = 8
_LONGEST_PERIOD = 32
# Nobody says a word again sooner, or more tokens in a second.
_MIN_FRAMES_OF_PHRASE = 8
_MIN_FRAMES_OF_TOKEN = 3
# Of the time that the speaker takes for the phrase when hurrying.
_PART_OF_PACE = 0.55
_TIMES_TOGETHER = 3
# A token is read from somewhere in its sound.
_SAME_PLACE_FRAMES = 10


def repeated_tail(tokens: Sequence[int]) -> int:
    """Return how many tokens at the end only repeat the ones before them; 0 unless that makes a loop.

    A loop is a phrase said at least three times over at least eight tokens: "no no no" is not one.
    """
    return _repetition(tokens)[1]


def looped_tail(text: Sequence[AlignedToken], is_mark: Callable[[int], bool]) -> int:
    """Return how many tokens at the end repeat the ones before them without being heard again; 0 without a loop.

    is_mark: whether a token is punctuation, which is read from anywhere in the silence.
    """
    period, n_repeated = _repetition([each.token for each in text])
    if not n_repeated:
        return 0
    text = _marks_at_their_words(text, is_mark)
    needed = max(_MIN_FRAMES_OF_PHRASE, period * _MIN_FRAMES_OF_TOKEN)
    start = len(text) - n_repeated - period
    spare = [_spare_frames(text, range(n, start - 1, -period), needed) for n in range(start + period, len(text))]
    n = n_repeated
    # Attention to a single token may be anywhere, so half of a phrase has to be later.
    while n and _upper_median([each for each in spare[max(0, n - period) : n] if each is not None]) < 0:
        n -= 1
    if n == n_repeated:
        return 0
    first = start + period - 1
    while n and (each := spare[n - 1]) is not None and min(each, _later(text, first + n, period) - needed) < 0:
        n -= 1
    # A phrase of which a part is not heard again is not.
    n -= n % period
    if n_repeated - n >= period:
        # What led into it was most likely a part of it.
        while n and spare[n - 1] is None:
            n -= 1
    return n_repeated - n


def said_before(text: Sequence[AlignedToken], following: AlignedToken) -> int:
    """Return how many tokens at the end of `text` begin, together with `following`, what it has said before.

    What was read from audio well before that of `following` was said another time.
    """
    tokens = [each.token for each in text]
    latest = following.frame - _SAME_PLACE_FRAMES
    n = 0
    while n < len(text) // 2 and any(
        tokens[end - n - 1 : end + 1] == [*tokens[len(text) - n - 1 :], following.token]
        for end in range(n + 1, len(text) - n - 1)
        if text[end].frame >= latest or text[end].frame == BEFORE_WINDOW
    ):
        n += 1
    return n


def _marks_at_their_words(text: Sequence[AlignedToken], is_mark: Callable[[int], bool]) -> list[AlignedToken]:
    placed = list[AlignedToken]()
    for each in text:
        placed.append(replace(each, frame=placed[-1].frame) if placed and is_mark(each.token) else each)
    return placed


def _spare_frames(text: Sequence[AlignedToken], times: Sequence[int], needed: int) -> float | None:
    """Return how many frames later a token was read than it has to be, if it was said again.

    times: where it stands, and where it stood before, the latest first. None when the window has lost where that was.
    """
    frame, *before = (text[at].frame for at in times)
    before = [each for each in before if each != BEFORE_WINDOW]
    if not before:
        return None
    steps = sorted(later - earlier for later, earlier in pairwise(before)) or [0]
    pace = max(needed, _PART_OF_PACE * steps[len(steps) // 4])
    # A single time may be misread from the place of that before or after it, so a few times together count.
    lately = before[:_TIMES_TOGETHER]
    spare = min(frame - before[-1] - len(before) * needed, frame - lately[-1] - len(lately) * pace)
    return min(spare, frame - before[1] - needed) if len(before) > 1 else spare


def _later(text: Sequence[AlignedToken], n: int, period: int) -> int:
    return text[n].frame - text[n - period].frame


def _upper_median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0


def _repetition(tokens: Sequence[int]) -> tuple[int, int]:
    """Return the length of the phrase that the text ends in saying again and again, and the tokens that repeat it."""
    for period in range(1, min(_LONGEST_PERIOD, len(tokens) // _MIN_REPEATS) + 1):
        matching = 0
        while matching < len(tokens) - period and tokens[-1 - matching] == tokens[-1 - matching - period]:
            matching += 1
        repeats = matching // period + 1
        if repeats >= _MIN_REPEATS and repeats * period >= _MIN_REPEATED_TOKENS:
            return period, matching
    return 0, 0
