"""Text translators: a sentence, as far as it was said, to its translation. One file per backend; `choice` picks one."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Sentence:
    """What is known of a sentence in the language `source`, to be translated into `target`: Whisper's codes.

    words: so far, each with its leading space. told: the words of its translation that were told already, joined, which
    never change. is_whole: no word of it follows. before, before_told: the sentence before and its translation, or "".
    """

    source: str
    target: str
    words: tuple[str, ...]
    told: str = ""
    is_whole: bool = False
    before: str = ""
    before_told: str = ""

    @property
    def text(self) -> str:
        return "".join(self.words).strip()


@dataclass(frozen=True)
class TargetToken:
    """A piece of a translation: its text, with a space in front where a word begins in a language that has spaces.

    source_word: which of the sentence's words, from 0, it was read from; None where the model does not tell.
    """

    text: str
    source_word: int | None = None


class Translator(Protocol):
    """Translates text; shared by all sessions, and safe to call from any thread."""

    @property
    def description(self) -> str:
        """What it is, for people and logs."""
        ...

    def check_pair(self, source: str, target: str) -> None:
        """Raise ConfigError, which says what it can do, where it does not translate between these languages."""
        ...

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        """Return what follows `sentence.told`, to the end of the translation. Raises TranslationError."""
        ...


__all__ = ["Sentence", "TargetToken", "Translator"]
