"""Committed words as segments, for dialects that number, time or complete them: sentences, as far as they are short.

Segments come in order and never overlap, whatever the times of the words. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simul_whisper import Word
from streaming.output.breaks import continues_number_after_space, continues_word, ends_sentence

_MOST_MS = 15_000


@dataclass
class Segment:
    """Words of one utterance and one language. It grows at its end until it is closed; start_ms never changes."""

    words: list[Word]
    utterance: int
    start_ms: int

    @property
    def end_ms(self) -> int:
        return max(self.start_ms + 1, *(_milliseconds(word.end_s) for word in self.words))

    @property
    def text(self) -> str:
        """With its leading space, as the model wrote it: the texts of all segments joined are the transcript."""
        return "".join(word.text for word in self.words)

    @property
    def language(self) -> str | None:
        return next((word.language for word in self.words if word.language), None)


class Segments:
    """open: the segment that may still grow, if there is one."""

    def __init__(self) -> None:
        self.open: Segment | None = None
        self._end_ms = 0

    def feed(self, words: Sequence[Word], utterance: int) -> list[Segment]:
        """Return the segments in which the words are, in order; all but the last are closed, and all before them."""
        touched = list[Segment]()
        for word in words:
            if self.open is None or not _goes_on(self.open, word, utterance):
                self.close()
                self.open = Segment([], utterance, max(_milliseconds(word.start_s), self._end_ms))
            self.open.words.append(word)
            if not touched or touched[-1] is not self.open:
                touched.append(self.open)
        return touched

    def close(self) -> Segment | None:
        """Return the open segment, which is not open any more."""
        closed, self.open = self.open, None
        if closed:
            self._end_ms = closed.end_ms
        return closed


def _goes_on(segment: Segment, word: Word, utterance: int) -> bool:
    if segment.utterance != utterance:
        return False
    # Punctuation that is decided after its word comes as a word of its own.
    before = segment.words[-1].text
    if not word.text.strip() or continues_word(word.text, before) or continues_number_after_space(word.text, before):
        return True
    is_over = ends_sentence(segment.text, segment.language)
    is_long = _milliseconds(word.end_s) - segment.start_ms > _MOST_MS
    is_other = word.language is not None and segment.language not in (None, word.language)
    return not (is_over or is_long or is_other)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
