"""Committed words cut where a voice may begin: at the end of a sentence, and before it once enough was said. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from simul_whisper import Word, ends_before, ends_for_certain

# A sentence that goes on is spoken up to a comma once it has so many words: its sound does not wait for its end.
_WORDS_BEFORE_PAUSE = 6
_PAUSES = (",", ";", ":", "—", "–", "،", "؛", "、", "，", "；", "：")
_NEXT_SENTENCE = " A"
# Whatever comes in place of words is spoken in pieces that are no longer.
_MOST_CHARACTERS, _MOST_CHARACTERS_OF_SENTENCE = 400, 4_000


@dataclass(frozen=True)
class Phrase:
    """What is spoken at once. text: empty where a sentence ends after all of it was cut off. sentence: its number.

    start_s, end_s: of the speech that it is said for. is_last: the sentence ends with it.
    """

    text: str
    language: str
    start_s: float
    end_s: float
    utterance: int
    sentence: int
    is_last: bool


class PhraseCutter:
    """Cuts one text. All that it returns is what it was given, but for spaces and what has nothing to be spoken."""

    def __init__(self) -> None:
        self._language, self._utterance, self._sentence = "", 1, 0
        self._start_s = self._end_s = 0.0
        # The sentence so far, and what of it is not cut off.
        self._whole = self._open = ""
        self._n_words = self._n_open = 0

    def hear(self, words: Sequence[Word], language: str, utterance: int, start_s: float, end_s: float) -> list[Phrase]:
        """Take words that are said for the speech between two times, and return the phrases that are complete."""
        phrases = list[Phrase]()
        for word in words:
            for start in range(0, len(word.text), _MOST_CHARACTERS):
                text = word.text[start : start + _MOST_CHARACTERS]
                phrases += self._take(text, word.language or language, utterance)
                self._end_s = max(self._end_s, end_s)
                if self._n_open <= 1:
                    self._start_s = start_s
                phrases += self._cut_after()
        return phrases

    def end(self) -> list[Phrase]:
        """The sentence is over, whatever it looks like."""
        was_begun, phrase = self._whole != self._open, self._cut(is_last=True)
        self._whole, self._n_words = "", 0
        self._sentence += 1
        return [phrase] if phrase.text or was_begun else []

    def _take(self, text: str, language: str, utterance: int) -> list[Phrase]:
        is_spoken = any(character.isalnum() for character in text)
        is_new = language != self._language or utterance != self._utterance
        phrases = list[Phrase]()
        if self._n_words and (is_new or (is_spoken and ends_before(language, self._whole, text))):
            phrases = self.end()
        self._language, self._utterance = language, utterance
        self._whole += text
        self._open += text
        self._n_words += is_spoken
        self._n_open += is_spoken
        return phrases

    def _cut_after(self) -> list[Phrase]:
        """Return what needs no more words to be complete."""
        if len(self._whole) >= _MOST_CHARACTERS_OF_SENTENCE:
            return self.end()
        if self._n_words and self._is_over():
            return self.end()
        is_enough = self._n_open >= _WORDS_BEFORE_PAUSE and self._open.endswith(_PAUSES)
        is_long = self._n_open and len(self._open) >= _MOST_CHARACTERS
        return [self._cut(is_last=False)] if is_enough or is_long else []

    def _is_over(self) -> bool:
        """Whether the sentence most likely ends here: that its sound comes soon is worth a wrong pause now and then."""
        is_certain = ends_for_certain(self._language, self._whole, self._n_words)
        return is_certain or ends_before(self._language, self._whole, _NEXT_SENTENCE)

    def _cut(self, *, is_last: bool) -> Phrase:
        text = self._open.strip() if self._n_open else ""
        phrase = Phrase(text, self._language, self._start_s, self._end_s, self._utterance, self._sentence, is_last)
        self._open, self._n_open, self._start_s = "", 0, self._end_s
        return phrase
