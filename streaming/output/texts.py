"""The texts of a session: the transcript, and a translation for each target. What events add to one, and its lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simul_whisper import Word
from streaming.events import Ended, Event, Failed, Recognised, SpeechEnded, Translation, Words
from streaming.output.breaks import continues_number_after_space, continues_word, ends_sentence

TRANSCRIPT = ""
"""Where texts are called by their language, the name of the one that is no translation."""

# A line without an end of a sentence is cut here: of some languages and models, text has none.
_LONGEST_LINE = 200


@dataclass(frozen=True)
class Passage:
    """What an event adds to a text. is_apart: what came before it is complete; is_last: it is complete itself."""

    words: tuple[Word, ...] = ()
    is_apart: bool = False
    is_last: bool = False


class TextReader:
    """Finds one text among the events of a session.

    Words of the transcript are complete when speech ends. A translation comes later, so that nothing but the words of
    the next utterance, or the end of the session, tells that it is complete.
    """

    def __init__(self, text: str) -> None:
        self._text, self._utterance = text, 0

    def read(self, event: Event) -> Passage:
        match event:
            case Words() if self._text == TRANSCRIPT:
                return Passage(event.words)
            case Translation() if event.target == self._text:
                before, self._utterance = self._utterance, event.utterance
                return Passage(event.words, is_apart=before != event.utterance)
            case SpeechEnded() | Recognised():
                return Passage(is_last=self._text == TRANSCRIPT)
            case Ended() | Failed():
                return Passage(is_last=True)
        return Passage()


class Lines:
    """Cuts a text into lines: where a sentence or an utterance ends, and where one would be too long."""

    def __init__(self, text: str) -> None:
        self._reader = TextReader(text)
        self._open = list[Word]()

    def feed(self, event: Event) -> list[tuple[Word, ...]]:
        """Return the lines that are complete now."""
        passage = self._reader.read(event)
        lines = self.end() if passage.is_apart else []
        for word in passage.words:
            if not word.text.strip():
                continue
            if len(joined((*self._open, word))) > _LONGEST_LINE and not self._goes_on_with(word):
                lines += self.end()
            self._open.append(word)
            if ends_sentence(word.text, word.language):
                lines += self.end()
        return [*lines, *self.end()] if passage.is_last else lines

    def end(self) -> list[tuple[Word, ...]]:
        """Return the open line, if there is one."""
        words, self._open = tuple(self._open), []
        return [words] if words else []

    def _goes_on_with(self, word: Word) -> bool:
        """Whether the word is a part of the last one."""
        before = self._open[-1].text if self._open else ""
        return continues_word(word.text, before) or continues_number_after_space(word.text, before)

    @property
    def open(self) -> tuple[Word, ...]:
        """The words of the line that is not complete."""
        return tuple(self._open)


def joined(words: Iterable[Word]) -> str:
    """Return words as the text of a line."""
    return " ".join("".join(word.text for word in words).split())


def labelled(text: str, words: Sequence[Word]) -> str:
    """Return a line of a text: that of a translation begins with its language."""
    return joined(words) if text == TRANSCRIPT else f"{text}: {joined(words)}"
