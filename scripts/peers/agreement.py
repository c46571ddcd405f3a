"""LocalAgreement-2 as Macháček, Dabre and Bojar describe it (2307.14743), over any Whisper that tells word times.

With each chunk the whole buffer is transcribed anew. Words on which two consecutive transcripts agree, from the last
committed word on, are committed; audio before the end of a committed sentence or segment is let go when the buffer has
become long, and its words are the prompt. Texts and times only; it knows no model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from scripts.peers.job import SAMPLE_RATE

LONGEST_S = 15.0
_N_PROMPT_WORDS = 200
# Times of words differ a little from one transcript to the next.
_TOLERANCE_S = 0.1
_LONGEST_OVERLAP = 5
_SENTENCE_ENDS = tuple(".?!。？！")


@dataclass(frozen=True)
class Word:
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segment:
    words: tuple[Word, ...]
    end_s: float


# (samples float32 (n,), prompt) -> segments, in seconds from the first sample
Transcribe = Callable[[NDArray[np.float32], str], Sequence[Segment]]


class LocalAgreement:
    def __init__(self, transcribe: Transcribe, longest_s: float = LONGEST_S) -> None:
        self._transcribe, self._longest_s = transcribe, longest_s
        self._buffer, self._start_sample = np.zeros(0, np.float32), 0
        self._committed, self._unconfirmed = list[Word](), list[Word]()

    def feed(self, samples: NDArray[np.float32]) -> list[Word]:
        """Return the words that this chunk, float32 (n,), confirms."""
        self._buffer = np.concatenate([self._buffer, samples])
        segments = [_later(each, self._start_s) for each in self._transcribe(self._buffer, self._prompt())]
        heard = unread([word for each in segments for word in each.words], self._committed)
        agreed = heard[: n_agreed(self._unconfirmed, heard)]
        self._committed += agreed
        self._unconfirmed = heard[len(agreed) :]
        if len(self._buffer) > self._longest_s * SAMPLE_RATE:
            self._trim([each.end_s for each in segments])
        return agreed

    def end(self) -> list[Word]:
        """Return the words of the last transcript that nothing has confirmed."""
        rest, self._unconfirmed = self._unconfirmed, []
        self._committed += rest
        return rest

    @property
    def _start_s(self) -> float:
        return self._start_sample / SAMPLE_RATE

    def _prompt(self) -> str:
        gone = takewhile(lambda word: word.end_s <= self._start_s, self._committed)
        return "".join([word.text for word in gone][-_N_PROMPT_WORDS:]).strip()

    def _trim(self, segment_ends_s: list[float]) -> None:
        """Let go what is before the latest end of a segment or sentence that is committed."""
        settled_s = self._committed[-1].end_s if self._committed else 0.0
        ends_s = [word.end_s for word in self._committed if word.text.endswith(_SENTENCE_ENDS)] + segment_ends_s
        cut_s = max((end_s for end_s in ends_s if end_s <= settled_s), default=0.0)
        n_gone = min(max(0, round(cut_s * SAMPLE_RATE) - self._start_sample), len(self._buffer))
        self._buffer, self._start_sample = self._buffer[n_gone:], self._start_sample + n_gone


def n_agreed(before: Sequence[Word], now: Sequence[Word]) -> int:
    """Return the length of the longest common prefix."""
    pairs = zip(before, now, strict=False)
    return len(list(takewhile(lambda pair: pair[0].text == pair[1].text, pairs)))


def unread(words: Sequence[Word], committed: Sequence[Word]) -> list[Word]:
    """Return the words after the committed ones, by time, less up to five that repeat the last of these."""
    if not committed:
        return list(words)
    fresh = [word for word in words if word.start_s > committed[-1].end_s - _TOLERANCE_S]
    for n in range(min(_LONGEST_OVERLAP, len(fresh), len(committed)), 0, -1):
        if n_agreed(committed[len(committed) - n :], fresh) == n:
            return fresh[n:]
    return fresh


def _later(segment: Segment, by_s: float) -> Segment:
    words = tuple(replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s) for word in segment.words)
    return Segment(words, segment.end_s + by_s)
