"""Repeat loops: recognising text that only repeats itself, Whisper's commonest failure on padded audio.

People repeat themselves too: no, no, no; a refrain; an announcement. What they say again is read from later audio, what
a decoder writes again from audio that it has read.
"""

from collections.abc import Sequence

from simul_whisper.alignatt import AlignedToken

BEFORE_WINDOW = -(1 << 20)
"""Frame of tokens that were read from audio before the window."""

_MIN_REPEATS = 3
_MIN_REPEATED_TOKENS = 8
_LONGEST_PERIOD = 32
# Nobody says a word again sooner, or more tokens in a second.
_MIN_FRAMES_OF_PHRASE = 8
_MIN_FRAMES_OF_TOKEN = 3
# A token is read from somewhere in its sound.
_SAME_PLACE_FRAMES = 10


def repeated_tail(tokens: Sequence[int]) -> int:
    """Return how many tokens at the end only repeat the ones before them; 0 unless that makes a loop.

    A loop is a phrase said at least three times over at least eight tokens: "no no no" is not one.
    """
    return _repetition(tokens)[1]


def looped_tail(text: Sequence[AlignedToken]) -> int:
    """Return how many tokens at the end repeat the ones before them without being heard again; 0 without a loop."""
    period, n_repeated = _repetition([each.token for each in text])
    first = len(text) - n_repeated
    spare = [_spare_frames(text, first - period, period, n) for n in range(first, len(text))]
    n = n_repeated
    # Attention to a single token may be anywhere, so half of a phrase has to be later.
    while n and _upper_median(spare[max(0, n - period) : n]) < 0:
        n -= 1
    if n < n_repeated:
        while n and _upper_median(spare[n - 1 : n]) < 0:
            n -= 1
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


def _spare_frames(text: Sequence[AlignedToken], start: int, period: int, n: int) -> int | None:
    """Return how many frames later token `n` was read than the fastest speaker says it again.

    start: where the phrase is said first. None when the window has lost where it was read before.
    """
    needed = max(_MIN_FRAMES_OF_PHRASE, period * _MIN_FRAMES_OF_TOKEN)
    known = [at for at in range(n - period, start - 1, -period) if text[at].frame != BEFORE_WINDOW]
    # Since it was said first, and since the last time but one: a single time may be misread.
    compared = {known[-1], known[min(1, len(known) - 1)]} if known else ()
    return min((text[n].frame - text[at].frame - (n - at) // period * needed for at in compared), default=None)


def _upper_median(spare: Sequence[int | None]) -> int:
    known = sorted(each for each in spare if each is not None)
    return known[len(known) // 2] if known else 0


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
