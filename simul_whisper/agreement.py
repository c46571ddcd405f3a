"""LocalAgreement: what is committed of a model whose attention tells nothing is what two passes agree on.

Liu et al., arXiv 2005.11185; for Whisper: Macháček et al., arXiv 2307.14743. Where words stand in the audio is not
known either. A word was said after those that an earlier pass had read, and before the end of the audio in which it was
read first; between them, words are spread over what is loud. Once audio has left the window, its text begins anew, and
what it has in common with the end of what was committed tells which words are still in it.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, takewhile
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from simul_whisper.alignatt import AlignedToken
from simul_whisper.audio import SAMPLES_PER_FRAME, AudioChunk, Samples
from simul_whisper.committed_tokens import CommittedToken
from simul_whisper.tokenizer import Tokenizer

_LOUD_PART = 0.1
_FEW_WORDS = 2
# Audio is cut where it is quietest, this far around where it might be cut, over so many frames.
_REACH_FRAMES, _QUIET_FRAMES = 25, 5
_Token = TypeVar("_Token", AlignedToken, CommittedToken)


def n_agreed(tokens: Sequence[int], before: Sequence[int]) -> int:
    """Return how many tokens two readings begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(tokens, before, strict=False)))


def placed(
    read: Sequence[AlignedToken],
    waiting: Sequence[CommittedToken],
    window: AudioChunk,
    decided_sample: int | None,
    content_frames: int,
) -> tuple[AlignedToken, ...]:
    """Return tokens with the frames of the window that they may have been read from.

    waiting: what the pass before read and did not commit, where it was placed then. decided_sample: where the last
    committed token was placed; None for none. content_frames: of the window, its last included.
    """
    n = n_agreed([each.token for each in read], [each.token for each in waiting])
    kept = [_frame(each.sample, window, content_frames) for each in waiting[:n]]
    begins = kept[-1] + 1 if kept else 0 if decided_sample is None else _frame(decided_sample, window, content_frames)
    loud = _loud_frames(window.samples, begins, content_frames)
    n_new = len(read) - n
    spread = [int(loud[(2 * i + 1) * len(loud) // (2 * n_new)]) for i in range(n_new)]
    return tuple(replace(token, frame=frame) for token, frame in zip(read, [*kept, *spread], strict=True))


def quietest(window: AudioChunk, sample: int) -> int:
    """Return the sample near this one, in the window, where a cut is least likely to part a word."""
    levels = _levels(window.samples, len(window.samples) // SAMPLES_PER_FRAME)
    around = np.convolve(levels, np.ones(_QUIET_FRAMES), "same")
    middle = (sample - window.start_sample) // SAMPLES_PER_FRAME
    first = max(0, middle - _REACH_FRAMES)
    near = around[first : middle + _REACH_FRAMES + 1]
    return window.start_sample + (first + int(near.argmin())) * SAMPLES_PER_FRAME if len(near) else sample


class FoundAgain:
    """Which committed words are in a window that has lost its beginning, read from its text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._said: list[list[CommittedToken]] | None = None

    @property
    def is_due(self) -> bool:
        """Whether the next pass shall read the window from its beginning, without what was committed of it."""
        return self._said is not None

    def cut(self, committed: Sequence[CommittedToken]) -> None:
        """Take the text of the window, of which an unknown part leaves; cut again before it was read, all of it."""
        if self._said is None:
            self._said = self._words(committed)

    def forget(self) -> None:
        self._said = None

    def parted(
        self, read: Sequence[AlignedToken], n_placed: int
    ) -> tuple[tuple[CommittedToken, ...], tuple[AlignedToken, ...]]:
        """Return which committed tokens are still in the window, and what follows them of its text.

        read: all of its text. n_placed: how many tokens should be in it by where they were placed: they are where its
        text has nothing in common with what was committed.
        """
        said, words = self._said or [], self._words(read)
        self._said = None
        old, new = [self._text(word) for word in said], [self._text(word) for word in words]
        for n in range(min(len(old), len(new)), 0, -1):
            # Of the first word, only the end may be heard.
            for first in range(min(2, len(new) - n + 1)):
                if new[first : first + n] == old[len(old) - n :]:
                    return tuple(chain(*said[len(said) - n :])), tuple(chain(*words[first + n :]))
        # A word or two may have been misplaced; more were misread.
        kept = tuple(chain(*said))
        kept = kept[max(0, len(kept) - n_placed) :]
        n = len(self._words(kept))
        return (kept, tuple(chain(*words[n:]))) if n > _FEW_WORDS else ((), tuple(read))

    def _words(self, tokens: Sequence[_Token]) -> list[list[_Token]]:
        words = list[list[_Token]]()
        for token in tokens:
            if words and not self._tokenizer.starts_word(token.token):
                words[-1].append(token)
            else:
                words.append([token])
        return words

    def _text(self, word: Sequence[AlignedToken | CommittedToken]) -> str:
        return self._tokenizer.decode([token.token for token in word]).strip()


def _frame(sample: int, window: AudioChunk, content_frames: int) -> int:
    return min(max(0, (sample - window.start_sample) // SAMPLES_PER_FRAME), content_frames - 1)


def _loud_frames(samples: Samples, begins: int, content_frames: int) -> NDArray[np.int64]:
    """Return the frames from `begins` on that are loud next to the loudest ones of the window; all, if none is."""
    begins = min(begins, content_frames - 1)
    levels = _levels(samples, content_frames)
    loud = np.flatnonzero(levels[begins:] > _LOUD_PART * np.quantile(levels, 0.95))
    return begins + (loud if len(loud) else np.arange(content_frames - begins))


def _levels(samples: Samples, n_frames: int) -> NDArray[np.float32]:
    """Return how loud each frame is."""
    padded = np.pad(samples, (0, max(0, n_frames * SAMPLES_PER_FRAME - len(samples))))[: n_frames * SAMPLES_PER_FRAME]
    levels: NDArray[np.float32] = np.sqrt(np.square(padded.reshape(n_frames, SAMPLES_PER_FRAME)).mean(axis=1))
    return levels
