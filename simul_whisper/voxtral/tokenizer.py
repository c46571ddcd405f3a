"""Voxtral's tokenizer as the engine asks for one: a transcript that begins with the language, in Tekken's tokens.

`[/INST] lang:en [TRANSCRIBE]` and the text follow the audio; the end of text ends it, also where nothing was said.
Voxtral was not trained to go on from older text, nor to translate in this way, and writes nothing but what is said; so
there is no place for a prompt, no such task, and nothing that must not be written.
"""

from collections.abc import Sequence
from functools import cached_property

from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import shown
from simul_whisper.languages import language_names
from simul_whisper.tokenizer import Tokenizer
from simul_whisper.voxtral.tekken import TekkenTokenizer

LANGUAGES = ("en", "es", "fr", "pt", "hi", "de", "nl", "it")
"""Those that Voxtral was made for, as Mistral lists them."""


class VoxtralTokenizer(Tokenizer):
    """What transcripts of one Voxtral model are written in."""

    translates = False
    no_speech: None
    sot_prev: None

    def __init__(self, tekken: TekkenTokenizer) -> None:
        super().__init__(tekken.n_vocab)
        self._tekken = tekken
        self.multilingual, self.languages = True, LANGUAGES
        self.eot = tekken.special("</s>")
        self.no_speech = self.sot_prev = None
        self.transcribe = tekken.special("[TRANSCRIBE]")
        self.before_audio = tuple(map(tekken.special, ("<s>", "[INST]", "[BEGIN_AUDIO]")))
        """What stands in front of the audio; `[/INST]` ends it."""
        self.after_audio = (tekken.special("[/INST]"),)

    @property
    def text_tokens(self) -> range:
        return range(self._tekken.n_special, self.n_vocab)

    @property
    def is_bare(self) -> bool:
        return True

    @cached_property
    def language_prompt(self) -> tuple[int, ...]:
        return self._named_languages[0][: self._n_common]

    @cached_property
    def language_paths(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tokens[self._n_common :] for tokens in self._named_languages)

    @cached_property
    def special_tokens(self) -> tuple[int, ...]:
        return tuple(token for token in range(self._tekken.n_special) if token != self.eot)

    @property
    def non_speech_tokens(self) -> tuple[int, ...]:
        return ()

    @property
    def describing_tokens(self) -> tuple[int, ...]:
        return ()

    @property
    def never_first(self) -> tuple[int, ...]:
        return ()

    def sot_sequence(self, language: str, task: str) -> list[int]:
        if task == "translate":
            raise ConfigError(
                "Voxtral transcribes under the policy and does not translate; translate its text with a translator, "
                "or use a multilingual Whisper"
            )
        if language not in self.languages:
            names = language_names()
            asked = f"{names[language]} ({language})" if language in names else shown(language)
            known = ", ".join(self.languages)
            raise ConfigError(f"Voxtral does not know {asked}, but {known}; use a Whisper that does")
        return [*self._tekken.encode(f"lang:{language}"), self.transcribe]

    def beginning(self, tokens: Sequence[int]) -> list[int]:
        n = next((n for n, token in enumerate(tokens) if n and self.starts_word(token)), len(tokens))
        word = b"".join(map(self.bytes_of, tokens[:n]))
        try:
            first = self.encode(word.decode().removeprefix(" ")) if word.startswith(b" ") else [*tokens[:n]]
        except UnicodeDecodeError:
            return [*tokens]
        return [*first, *tokens[n:]]

    def encode(self, text: str) -> list[int]:
        return self._tekken.encode(text)

    def bytes_of(self, token: int) -> bytes:
        return self._tekken.bytes_of(token)

    @cached_property
    def _named_languages(self) -> list[tuple[int, ...]]:
        return [tuple(self._tekken.encode(f"lang:{language}")) for language in self.languages]

    @property
    def _n_common(self) -> int:
        """How many tokens all names of languages begin with."""
        columns = zip(*self._named_languages, strict=False)
        return next((n for n, tokens in enumerate(columns) if len(set(tokens)) > 1), 0)
