"""What the engine asks of the tokenizer of a model, whichever it is.

Each model says which tokens are text (`text_tokens`, `bytes_of`, `encode`) and which end it (`eot`), how a transcript
begins (`sot_sequence`), how the language spoken is asked for (`languages`, `language_prompt`, `language_paths`), what
may not be written (`special_tokens`, `non_speech_tokens`, `describing_tokens`, `never_first`), what there is for
silence (`no_speech`) and for older text (`sot_prev`), and whether a text begins with a space (`is_bare`). Where words
begin and what is a mark follows from the bytes of tokens, and is told here for all.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

_CLOSING_MARKS = '.,?!;:…")]}»”،؛؟۔'


class Tokenizer(ABC):
    """The tokenizer of one model.

    n_vocab: the size of the model's vocabulary. multilingual: whether the language spoken is a part of the prompt.
    eot: the token that ends a text. languages: codes of those that the model can write down.
    translates: whether the model can write an English translation in place of the transcript.
    no_speech: the token that says, in place of a transcript, that nothing was said; None where there is none.
    sot_prev: what older text is shown behind, in front of the transcript; None where there is no place for it.
    """

    multilingual: bool
    eot: int
    languages: tuple[str, ...]
    translates: bool = True
    no_speech: int | None
    sot_prev: int | None

    def __init__(self, n_vocab: int) -> None:
        self.n_vocab = n_vocab

    @property
    @abstractmethod
    def text_tokens(self) -> range:
        """Ids of all tokens that are text."""

    @property
    @abstractmethod
    def is_bare(self) -> bool:
        """Whether the first word of a text has no space before it."""

    @property
    @abstractmethod
    def language_prompt(self) -> tuple[int, ...]:
        """What stands in front of the language spoken."""

    @property
    @abstractmethod
    def language_paths(self) -> tuple[tuple[int, ...], ...]:
        """The tokens that name each language behind `language_prompt`, in the order of `languages`."""

    @property
    @abstractmethod
    def special_tokens(self) -> range | tuple[int, ...]:
        """Everything that is never written and no text, but the end of text."""

    @property
    @abstractmethod
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Text that annotates rather than transcribes, and is never written."""

    @property
    @abstractmethod
    def describing_tokens(self) -> tuple[int, ...]:
        """Those of `non_speech_tokens` that begin to describe a sound."""

    @property
    @abstractmethod
    def never_first(self) -> tuple[int, ...]:
        """What no text begins with."""

    @abstractmethod
    def sot_sequence(self, language: str, task: str) -> list[int]:
        """Return the tokens that start a transcript without timestamps. Raises ConfigError for what the model lacks."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`; text that looks like a special token is only text."""

    @abstractmethod
    def bytes_of(self, token: int) -> bytes:
        """Return the UTF-8 bytes of a token, often not whole characters; none for special tokens."""

    def beginning(self, tokens: Sequence[int]) -> list[int]:
        """Return the tokens of a text that continues older text, as the model would write them at the beginning."""
        return list(tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`; half characters at the ends become U+FFFD."""
        return b"".join(self.bytes_of(token) for token in tokens).decode("utf-8", errors="replace")

    def starts_word(self, token: int) -> bool:
        """Whether a word of a language with spaces begins with this token; so do special tokens."""
        return token not in self.text_tokens or self.bytes_of(token).startswith(b" ")

    def continues_word(self, token: int) -> bool:
        """Whether this token is a further part of the word before it, of which punctuation is none."""
        return not self.starts_word(token) and not self.is_mark(token)

    def is_mark(self, token: int) -> bool:
        """Whether this token is nothing but punctuation after a word."""
        return not self.starts_word(token) and _is_mark(self.bytes_of(token))

    @cached_property
    def continuing_tokens(self) -> tuple[int, ...]:
        """Every token that `continues_word`."""
        texts = ((token, self.bytes_of(token)) for token in self.text_tokens)
        return tuple(token for token, text in texts if not text.startswith(b" ") and not _is_mark(text))


def _is_mark(text: bytes) -> bool:
    return text.decode("utf-8", errors="replace").strip(_CLOSING_MARKS) == ""
