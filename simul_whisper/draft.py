"""What a pass reads past the edge, where nothing may be committed yet, and what of that is worth showing.

A listener wants to read the words that the speaker is just saying. Audio that is still to come may change them, so
they are only shown; what is committed never depends on them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simul_whisper.alignatt import AlignedToken, StopReason
from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.search import StopRule
from simul_whisper.tokenizer import Tokenizer

# Closer to the end of the audio, words are made up: what stands there has hardly begun.
UNHEARD_FRAMES = 4
# How likely all of a draft must be.
_WORTH_SHOWING = math.log(0.2)
# How likely it must be that the last word shown is over.
_WORD_ENDED = 0.5


@dataclass(frozen=True)
class WorthReading:
    """Stops where `rule` does, or where the tokens behind the first `n_before` are too unlikely to be shown."""

    rule: StopRule
    n_before: int

    def __call__(self, tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:
        if _logprob(tokens[self.n_before :]) < _WORTH_SHOWING:
            return StopReason.LENGTH
        return self.rule(tokens, token, frame)


def n_worth_showing(read: Sequence[AlignedToken], n: int, language: str | None, tokenizer: Tokenizer) -> int:
    """Return how many of the first n tokens to show: likely ones, in whole words, as far as the token after them tells.

    Without the marks at the end: wherever audio ends, a sentence seems to. language: of the text.
    """
    logprob, n_likely = 0.0, 0
    for token in read[:n]:
        logprob += token.logprob
        if logprob < _WORTH_SHOWING:
            break
        n_likely += 1
    if language in LANGUAGES_WITHOUT_SPACES:
        return n_likely
    while n_likely and not _ends_word(read, n_likely, tokenizer):
        n_likely -= 1
    return n_likely


def _logprob(tokens: Sequence[AlignedToken]) -> float:
    return sum(token.logprob for token in tokens)


def _ends_word(read: Sequence[AlignedToken], n: int, tokenizer: Tokenizer) -> bool:
    """Whether a word that has a sound ends with the first n tokens."""
    if tokenizer.is_mark(read[n - 1].token):
        return False
    return n == len(read) or (read[n].word_ended >= _WORD_ENDED and not tokenizer.continues_word(read[n].token))
