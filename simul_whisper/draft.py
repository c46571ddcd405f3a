"""What a pass reads past the edge, where nothing may be committed yet, and what of that is worth showing.

A listener wants to read the words that the speaker is just saying. Audio that is still to come may change them, so
they are only shown; what is committed never depends on them.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from simul_whisper.alignatt import AlignedToken, StopReason
from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.search import Hypothesis, SearchResult, StopRule
from simul_whisper.tokenizer import Tokenizer

# Speech holds no more from the edge to the end of the audio; what goes on longer is made up.
_MOST_TOKENS_PAST_THE_EDGE = 8
# Closer to the end of the audio, words are made up: what stands there has hardly begun.
UNHEARD_FRAMES = 4
# How likely all of a draft must be.
_WORTH_SHOWING = math.log(0.2)
# How likely it must be that the last word shown is over.
_WORD_ENDED = 0.5


class PastTheEdge:
    """Reads on, where `rule` stops at the edge of what may be committed, until `beyond` stops or what follows would not
    be shown. For one hypothesis. commits: whether what is read before the edge may be committed, or is a draft too.
    """

    def __init__(self, rule: StopRule, beyond: StopRule, *, commits: bool = True) -> None:
        self._rule, self._beyond, self._commits = rule, beyond, commits
        self._edge: int | None = None

    def __call__(self, tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:
        n_committed = self._edge if self._commits else 0
        if n_committed is not None and _logprob(tokens[n_committed:]) < _WORTH_SHOWING:
            return StopReason.LENGTH
        if self._edge is None:
            reason = self._rule(tokens, token, frame)
            if reason is not StopReason.EDGE:
                return reason
            self._edge = len(tokens)
        if len(tokens) - self._edge >= _MOST_TOKENS_PAST_THE_EDGE:
            return StopReason.LENGTH
        return self._beyond(tokens, token, frame)

    def parted(self, found: SearchResult) -> SearchResult:
        """Return what `rule` alone would have found, and what is past that."""
        read, ended = found.best.tokens, found.best.next_token
        if self._edge is None or ended is None:
            return found
        past = (*read[self._edge :], ended)
        before = read[: self._edge]
        best = Hypothesis(before, sum(token.logprob for token in before))
        return replace(found, best=best.ended(StopReason.EDGE, past[0]), past=past)


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
