"""How much of what a pass has read is committed: whole words that no more audio is likely to change.

AlignAtt alone commits the words of a single pass, and most errors that only streaming makes are such words, read before
there was context: waiting for a second reading of the unlikely ones costs little delay and removes most of them.
"""

import math
from collections.abc import Sequence

from simul_whisper.agreement import n_agreed
from simul_whisper.alignatt import AlignedToken
from simul_whisper.audio import SAMPLE_RATE, SAMPLES_PER_FRAME
from simul_whisper.config import AlignAttConfig, LastWord
from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.numbers import continues_number, may_go_on
from simul_whisper.tokenizer import Tokenizer

# A token that two passes agree on may be this much less likely.
_AGREED_PART = 0.5
# How much longer a token of a term that no two passes agree on waits than others.
_TERM_HOLDS = 2
# How likely it must be that a word is over. What follows may be any of many words, each of them unlikely.
_WORD_ENDED = 0.98


class CommitRule:
    """The rule of one listener. held: the tokens that the last pass read and did not commit."""

    def __init__(self, config: AlignAttConfig, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._last_word = LastWord(config.last_word)
        self._likely = math.log(max(config.hold_probability, 1e-9))
        self._hold_frames = config.hold_len * SAMPLE_RATE / SAMPLES_PER_FRAME
        # What no two passes agree on must be written before its audio goes.
        self._waits_frames = config.max_samples // 2 // SAMPLES_PER_FRAME
        self.held: tuple[int, ...] = ()

    def n_committed(
        self,
        accepted: Sequence[AlignedToken],
        following: AlignedToken | None,
        language: str | None,
        content_frames: int,
        *,
        at_pause: bool = False,
        is_aligned: bool = True,
    ) -> int:
        """Return how many of the accepted tokens to commit.

        following: the token that stopped the pass, which often shows that a word has ended; None when it says nothing.
        is_aligned: it is known where they were read; otherwise two passes have to agree (LocalAgreement).
        at_pause: the speaker has paused after the last of them, so the last word has ended. Its mark waits: a sentence
        that seems to be over often goes on.
        """
        read = [*accepted] if following is None else [*accepted, following]
        n_sure = self._n_sure(read, content_frames) if is_aligned else self._n_agreed(read, content_frames)
        n = min(n_sure, len(accepted))
        if at_pause and n == len(accepted):
            n -= self._n_marks_at_end(accepted)
        elif self._last_word is not LastWord.KEEP and language not in LANGUAGES_WITHOUT_SPACES:
            n = self._n_in_whole_words(read, n)
        if self._last_word is not LastWord.KEEP:
            n = self._n_before_open_number(read, n, len(accepted), language, content_frames)
        self.held = tuple(token.token for token in read[n:])
        return n

    def forget(self) -> None:
        """Begin anew: nothing has been read before."""
        self.held = ()

    def _n_sure(self, read: Sequence[AlignedToken], content_frames: int) -> int:
        """Return how many tokens are likely, or have been read twice, or have waited long enough.

        Those of expected terms may be less likely, so the first reading is no proof, however long ago they were said.
        """
        agreed = True
        for n, token in enumerate(read):
            agreed = agreed and n < len(self.held) and self.held[n] == token.token
            if agreed and token.is_of_term:
                continue
            needed = self._likely + (math.log(_AGREED_PART) if agreed else 0.0)
            hold_frames = self._hold_frames * (_TERM_HOLDS if token.is_of_term else 1)
            if token.logprob < needed and content_frames - token.frame <= hold_frames:
                return n
        return len(read)

    def _n_agreed(self, read: Sequence[AlignedToken], content_frames: int) -> int:
        """Return how many tokens have been read twice, or have waited long enough."""
        n = n_agreed([token.token for token in read], self.held)
        while n < len(read) and content_frames - read[n].frame > self._waits_frames:
            n += 1
        return n

    def _n_in_whole_words(self, read: Sequence[AlignedToken], n: int) -> int:
        """Return how many of the first n tokens make up whole words, as far as what was read after them tells."""
        while n > 0 and (n == len(read) or not self._begins_anew(read[n])):
            n -= 1
        return n

    def _n_before_open_number(
        self, read: Sequence[AlignedToken], n: int, n_accepted: int, language: str | None, content_frames: int
    ) -> int:
        """Return how many of the first n tokens come before a number that may go on, or is not read as a whole.

        It is over once another word is read before the edge, or when it has waited long enough: twice as long where a
        mark follows, of which nothing tells yet whether more digits come behind it.
        """
        begins = [i for i in range(1, len(read)) if self._begins_word(read, i, language)]
        begins = [0, *begins, len(read), len(read)]
        while n > 0:
            at = max(i for i, begin in enumerate(begins) if begin < n)
            start, end, next_end = begins[at : at + 3]
            if not may_go_on(self._text(read[start:end])):
                break
            n_whole = end - self._n_marks_at_end(read[:end])
            longest = self._hold_frames * (2 if n_whole < end == len(read) else 1)
            has_waited = content_frames - read[n_whole - 1].frame > longest
            is_over = end < n_accepted and not may_go_on(self._text(read[end:next_end]))
            if n >= n_whole and (has_waited or is_over):
                break
            n = start
        return n

    def _begins_word(self, read: Sequence[AlignedToken], i: int, language: str | None) -> bool:
        """Whether a written word begins with this token; of those without spaces, numbers alone are kept together."""
        if language in LANGUAGES_WITHOUT_SPACES:
            return not continues_number(self._text(read[:i]), self._text(read[i : i + 1]))
        return self._tokenizer.starts_word(read[i].token)

    def _text(self, tokens: Sequence[AlignedToken]) -> str:
        return self._tokenizer.decode([token.token for token in tokens])

    def _n_marks_at_end(self, read: Sequence[AlignedToken]) -> int:
        n = 0
        while n < len(read) and self._tokenizer.is_mark(read[-1 - n].token):
            n += 1
        return n

    def _begins_anew(self, token: AlignedToken) -> bool:
        return token.word_ended >= _WORD_ENDED and not self._tokenizer.continues_word(token.token)
