"""What a pass reads past the edge, where nothing may be committed yet, and what of that is worth showing.

A listener wants to read the words that the speaker is just saying. Audio that is still to come may change them, so
they are only shown; what is committed never depends on them.
"""

import math
from collections.abc import Sequence

from simul_whisper.alignatt import AlignedToken, StopReason
from simul_whisper.search import Hypothesis, StopRule
from simul_whisper.tokenizer import Tokenizer

# Speech holds no more from the edge to the end of the audio; what goes on longer is made up.
_MOST_TOKENS_PAST_THE_EDGE = 8
# How likely all of a draft must be, from its first token on.
_WORTH_SHOWING = math.log(0.25)
# How likely it must be that the last word shown is over.
_WORD_ENDED = 0.8


class PastTheEdge:
    """Reads on, where `rule` stops at the edge of what may be committed, until `beyond` stops. For one hypothesis."""

    def __init__(self, rule: StopRule, beyond: StopRule) -> None:
        self._rule, self._beyond = rule, beyond
        self._edge: int | None = None

    def __call__(self, tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:
        if self._edge is None:
            reason = self._rule(tokens, token, frame)
            if reason is not StopReason.EDGE:
                return reason
            self._edge = len(tokens)
        if len(tokens) - self._edge >= _MOST_TOKENS_PAST_THE_EDGE:
            return StopReason.LENGTH
        return self._beyond(tokens, token, frame)

    def parted(self, found: Hypothesis) -> tuple[Hypothesis, tuple[AlignedToken, ...]]:
        """Return what `rule` alone would have found, and the tokens past it with the one that ended the reading."""
        if self._edge is None or found.next_token is None:
            return found, ()
        before, *past = found.tokens[: self._edge], *found.tokens[self._edge :], found.next_token
        best = Hypothesis()
        for token in before:
            best = best.extended(token)
        return best.ended(StopReason.EDGE, past[0]), tuple(past)


def n_worth_showing(read: Sequence[AlignedToken], n: int, content_frames: int, tokenizer: Tokenizer) -> int:
    """Return how many of the first n tokens to show: likely ones, in whole words, as far as the token after them tells.

    Without the marks at the end: at the edge, every sentence seems to be over.
    """
    logprob, n_likely = 0.0, 0
    for token in read[:n]:
        logprob += token.logprob
        if logprob < _WORTH_SHOWING:
            break
        n_likely += 1
    while n_likely and not _ends_word(read, n_likely, tokenizer):
        n_likely -= 1
    return n_likely


def _ends_word(read: Sequence[AlignedToken], n: int, tokenizer: Tokenizer) -> bool:
    if tokenizer.is_mark(read[n - 1].token):
        return False
    following = read[n] if n < len(read) else None
    return following is None or (
        following.word_ended >= _WORD_ENDED and not tokenizer.continues_word(following.token)
    )
