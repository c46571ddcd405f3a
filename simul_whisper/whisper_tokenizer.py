"""Whisper's tokenizer: byte-level BPE over the `tokenizers` library, and its special tokens.

Special tokens are computed from the size of the vocabulary, because not every tokenizer.json lists them all. Of such a
file only the vocabulary, the merges and the end of text are taken: all else is the same for every Whisper, and what a
stranger's file might do to text (patterns that take for ever, padding to any length) is never set up.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as BpeTokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from simul_whisper.errors import ConfigError, WeightsError
from simul_whisper.foreign_files import one_line, read_json, shown
from simul_whisper.languages import LANGUAGES, language_names
from simul_whisper.tokenizer import Tokenizer

_ENGLISH_VOCABULARY = 51864
# Where there are no languages, the text of the tokens ends one earlier.
_ENGLISH_EOT, _EOT = 50256, 50257
_N_TIMESTAMPS = 1501
_END_OF_TEXT = "<|endoftext|>"
_MOST_BYTES = 16 << 20
_BYTE_OF_CHARACTER: dict[str, int] = {}


def _printable_bytes() -> list[int]:
    return [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]


def _fill_byte_table() -> None:
    """Byte-level BPE writes printable bytes as themselves and the others as characters from 256 on."""
    printable = _printable_bytes()
    others = [byte for byte in range(256) if byte not in printable]
    _BYTE_OF_CHARACTER.update({chr(byte): byte for byte in printable})
    _BYTE_OF_CHARACTER.update({chr(256 + n): byte for n, byte in enumerate(others)})


_fill_byte_table()


# What descriptions of sounds stand in. Notes are not among them: they mark singing, whose words are heard.
_DESCRIBING_MARKS = "([*"


class WhisperTokenizer(Tokenizer):
    """The tokenizer of one Whisper model.

    file: a Hugging Face tokenizer.json; n_vocab: the size of the model's vocabulary, which decides the special tokens.
    Raises WeightsError when the file is damaged or belongs to another vocabulary.
    """

    no_speech: int
    sot_prev: int

    def __init__(self, file: Path, n_vocab: int) -> None:
        super().__init__(n_vocab)
        self.multilingual = n_vocab > _ENGLISH_VOCABULARY
        self.eot = _EOT if self.multilingual else _ENGLISH_EOT
        try:
            content = read_json(file, _MOST_BYTES)
            ids, merges = _vocabulary(content, self.eot)
            self._bpe, said_eot = _bpe(ids, merges), _end_of_text(content)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{file}: not a tokenizer: {one_line(error)}") from error
        self._bytes = [b""] * self.eot
        for token, number in ids.items():
            self._bytes[number] = bytes(map(_BYTE_OF_CHARACTER.__getitem__, token))
        self.sot = self.eot + 1
        n_languages = n_vocab - _N_TIMESTAMPS - self.sot - 7
        if not 1 <= n_languages <= len(LANGUAGES) or said_eot != self.eot:
            raise WeightsError(
                f"{file}: belongs to another model: got end of text {shown(said_eot)}, "
                f"expected {self.eot} for a vocabulary of {n_vocab}"
            )
        self.languages = LANGUAGES[:n_languages]
        first_task = self.sot + 1 + n_languages
        self.translate, self.transcribe = first_task, first_task + 1
        self.sot_lm, self.sot_prev, self.no_speech, self.no_timestamps = range(first_task + 2, first_task + 6)

    @property
    def language_tokens(self) -> range:
        """Ids of the language tokens, in the order of `languages`."""
        return range(self.sot + 1, self.sot + 1 + len(self.languages))

    def sot_sequence(self, language: str, task: str) -> list[int]:
        """Return the tokens that start a transcript without timestamps. Raises ConfigError for what the model lacks."""
        asked = f"{language_names()[language]} ({language})"
        if not self.multilingual:
            if (language, task) == ("en", "transcribe"):
                return [self.sot, self.no_timestamps]
            wish = "translate" if language == "en" else f"write down {asked}"
            raise ConfigError(
                f"this model can only transcribe English, so it cannot {wish}; use a multilingual model, such as base"
            )
        if language not in self.languages:
            raise ConfigError(
                f"this model does not know {asked}; use one that does, such as large-v3 or large-v3-turbo"
            )
        task_token = self.translate if task == "translate" else self.transcribe
        return [self.sot, self.language_tokens[self.languages.index(language)], task_token, self.no_timestamps]

    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`; text that looks like a special token is only text."""
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return ids

    def bytes_of(self, token: int) -> bytes:
        """Return the UTF-8 bytes of a token, often not whole characters; none for special tokens."""
        return self._bytes[token] if token < self.eot else b""

    @property
    def text_tokens(self) -> range:
        return range(self.eot)

    @property
    def is_bare(self) -> bool:
        return False

    @property
    def language_paths(self) -> tuple[tuple[int, ...], ...]:
        return tuple((token,) for token in self.language_tokens)

    @property
    def language_prompt(self) -> tuple[int, ...]:
        return (self.sot,)

    @property
    def never_first(self) -> tuple[int, ...]:
        """A blank, and the end: that nothing is said has a token of its own."""
        return self.blank, self.eot

    @cached_property
    def blank(self) -> int:
        return self.encode(" ")[0]

    @cached_property
    def special_tokens(self) -> range:
        """Everything after the end of text: tags, languages, timestamps."""
        return range(self.sot, self.n_vocab)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Tokens of symbols that annotate rather than transcribe, such as brackets and musical notes.

        The list is OpenAI's: these symbols, alone or after a space, unless they need several tokens; and the first
        token of the musical ones. A hyphen or an apostrophe may stand inside a word, but not begin one.
        """
        symbols = (
            list('"#()*+/:;<=>@[\\]^_`{|}~「」『』')
            + "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split()
        )
        musical = set("♩♪♫♬♭♮♯")
        found = {self.encode(" -")[0], self.encode(" '")[0]}
        for symbol in [*symbols, *musical]:
            for tokens in (self.encode(symbol), self.encode(" " + symbol)):
                if len(tokens) == 1 or symbol in musical:
                    found.add(tokens[0])
        return tuple(sorted(found))

    @cached_property
    def describing_tokens(self) -> tuple[int, ...]:
        """Those of `non_speech_tokens` that begin to describe a sound: [music], (laughs), *coughs*."""
        return tuple(
            token for token in self.non_speech_tokens if any(mark in self.decode([token]) for mark in _DESCRIBING_MARKS)
        )


def _vocabulary(content: Any, eot: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the ids by token, without special ones, and the merges, of a tokenizer.json.

    Raises ValueError for all but a byte-level BPE.
    """
    match content:
        case {"model": {"vocab": dict(vocabulary), "merges": list(merges)}}:
            if not all(type(number) is int and number >= 0 for number in vocabulary.values()):
                raise ValueError("the ids of its tokens are not numbers")
            # Multilingual ones have a token of no text.
            ids = {token: number for token, number in vocabulary.items() if token and number < eot}
            _check_ids(ids)
            return ids, _with_first(ids, [_merge(each) for each in merges])
    raise ValueError("it has no vocabulary and merges")


def _check_ids(ids: dict[str, int]) -> None:
    if len(set(ids.values())) < len(ids):
        raise ValueError("two of its tokens have the same id")
    if not ids.keys() >= _BYTE_OF_CHARACTER.keys() or not _BYTE_OF_CHARACTER.keys() >= set("".join(ids)):
        raise ValueError("its tokens are not made of the 256 bytes")


def _merge(written: Any) -> tuple[str, str]:
    """A pair of tokens: in older files one text, with a space between."""
    match written.split(" ") if isinstance(written, str) else written:
        case [str(first), str(second)]:
            return first, second
    raise ValueError("its merges are not pairs of tokens")


def _with_first(ids: dict[str, int], merges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the merges with the first one put back, which some multilingual files have lost.

    Without it " the" is three tokens, so prompts would be unlike the text that Whisper was trained on.
    """
    first = ("Ġ", "t")
    return [first, *merges] if merges and "Ġt" in ids and first not in merges else merges


def _bpe(ids: dict[str, int], merges: list[tuple[str, str]]) -> BpeTokenizer:
    if not all(first in ids and second in ids and first + second in ids for first, second in merges):
        raise ValueError("its merges make tokens that are not in its vocabulary")
    tokenizer = BpeTokenizer(BPE(vocab=ids, merges=merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return tokenizer


def is_english_only(file: Path) -> bool:
    """Whether a tokenizer.json is that of a model without languages; not so where it cannot be read."""
    try:
        return _end_of_text(read_json(file, _MOST_BYTES)) == _ENGLISH_EOT
    except (WeightsError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _end_of_text(content: Any) -> int | None:
    """Return the id that a tokenizer.json gives to the end of text; None when it has none."""
    added = content.get("added_tokens")
    for each in added if isinstance(added, list) else []:
        match each:
            case {"content": "<|endoftext|>", "id": int(number)}:
                return number
    number = content["model"]["vocab"].get(_END_OF_TEXT)
    return number if isinstance(number, int) else None
