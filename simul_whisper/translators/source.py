"""A sentence, as far as it was said, and how much of its translation was told. It knows no translator."""

from dataclasses import dataclass, field, replace

from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.translators.sentences import ends_before, ends_for_certain
from simul_whisper.word import Word


@dataclass(frozen=True)
class Reading:
    """What followed the words that were told, when so many words of the sentence were known."""

    n_words: int
    texts: tuple[str, ...]


@dataclass(eq=False)
class SourceSentence:
    """Grows word by word, and ends with its utterance at the latest.

    is_copied: it is said in the target language, so its words are told as they are. It has no end within the utterance.
    words: those that are spoken, each with the punctuation after it, so that it counts as one position; a copied
    sentence keeps all words apart. told, told_pieces: words of the translation, and the pieces they were made of.
    told_end_s: how much of the sentence is dealt with. n_asked: how many words the newest reading knew.
    readings: the newest, oldest first. has_failed: its translation failed before it was whole.
    is_lost: its translation is given up.
    """

    language: str
    utterance: int
    is_copied: bool = False
    words: list[Word] = field(default_factory=list)
    end_s: float = 0.0
    is_whole: bool = False
    told: list[Word] = field(default_factory=list)
    told_pieces: list[str] = field(default_factory=list)
    told_end_s: float = 0.0
    n_asked: int = 0
    readings: list[Reading] = field(default_factory=list)
    has_failed: bool = False
    is_lost: bool = False

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)

    @property
    def told_text(self) -> str:
        return "".join(word.text for word in self.told)

    @property
    def is_spoken(self) -> bool:
        return any(word.is_spoken for word in self.words)

    def add(self, word: Word) -> None:
        """Take the next word, or what belongs to the one before it."""
        if not self.words:
            self.told_end_s = self.end_s = max(self.end_s, word.start_s)
        self.end_s = max(self.end_s, word.end_s)
        if not self.words or self.is_copied or self._begins_word(word):
            self.words.append(word)
            return
        last = self.words[-1]
        self.words[-1] = replace(last, text=last.text + word.text, end_s=max(last.end_s, word.end_s))

    def ends_before(self, word: Word, utterance: int) -> bool:
        """Whether the next word, which is said in this utterance, is in another sentence."""
        if (word.language or "") != self.language or utterance != self.utterance:
            return True
        if self.is_copied or not self.is_spoken or is_late_punctuation(word):
            return False
        return ends_before(self.language, self.text, word.text)

    def ends_for_certain(self) -> bool:
        """Whether the next word is in another sentence, whatever it is."""
        return not self.is_copied and self.is_spoken and ends_for_certain(self.language, self.text, len(self.words))

    def copy(self) -> "SourceSentence":
        return replace(self, words=list(self.words))

    def _begins_word(self, word: Word) -> bool:
        if not word.is_spoken:
            return False
        return word.text[:1].isspace() or self.language in LANGUAGES_WITHOUT_SPACES or not self.words[-1].is_spoken


def is_late_punctuation(word: Word) -> bool:
    """Whether it was decided after the word that it belongs to."""
    return not word.is_spoken and not word.text[:1].isspace()
