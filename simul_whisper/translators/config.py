"""Settings of translation: which languages need a translator, which one, and when its words are told."""

from collections.abc import Sequence
from dataclasses import dataclass

from simul_whisper.options import check_options, option

WHISPER_TARGET = "en"


@dataclass(frozen=True)
class TranslationConfig:
    """The table [translation], without `targets`, which stands beside `task`. Raises ConfigError."""

    backend: str = option(
        "auto",
        "what translates text; auto: openai with a url, ctranslate2 with a model, else apertium",
        ("auto", "ctranslate2", "openai", "apertium"),
    )
    model: str = option(
        "",
        "for ctranslate2 a directory or hub id, where {source} and {target} stand for the languages; for openai a name",
    )
    url: str = option("", "an OpenAI-compatible endpoint, such as http://127.0.0.1:11434/v1")
    english: str = option(
        "whisper",
        "what translates into English: whisper, from the sound, or the translator, from the text",
        ("whisper", "translator"),
    )
    source_threshold: int = option(
        1, "words at the end of what was said from which no word of a translation is read yet", low=0, high=20
    )
    drafts: bool = option(True, "also show translations that may still change")
    glossary: str = option("", "a file of names and terms, `term = translation` a line, for models that can be told")
    timeout: float = option(10.0, "seconds after which a translation is given up", low=0.1, high=600)
    max_behind: float = option(
        20.0, "seconds that translations may be behind; then whole sentences are left out, and that is told", low=1
    )

    def __post_init__(self) -> None:
        check_options(self)

    def by_whisper(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the languages that Whisper itself translates into."""
        return tuple(each for each in targets if each == WHISPER_TARGET and self.english == "whisper")

    def by_translator(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the languages that need a translator of text."""
        return tuple(each for each in targets if each not in self.by_whisper(targets))
