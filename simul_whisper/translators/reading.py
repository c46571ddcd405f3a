"""What a translator answered, in words: which pieces make a word, and how much of them makes sense."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simul_whisper.languages import LANGUAGES_WITHOUT_SPACES
from simul_whisper.loops import repeated_tail
from simul_whisper.numbers import continues_number
from simul_whisper.translators import TargetToken

# A translation that goes on for longer has come off its text.
_MOST_PIECES_PER_WORD, _FREE_PIECES = 8, 16
_PIECE = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True)
class TargetWord:
    """A word of a translation: its text, the pieces it is made of, and where in the reading they end."""

    text: str
    pieces: tuple[TargetToken, ...]
    end: int

    @property
    def source_words(self) -> list[int]:
        """Which words of the sentence it was read from; empty where that is not known."""
        return [piece.source_word for piece in self.pieces if piece.source_word is not None]


def pieces_of(tokens: Sequence[TargetToken], target: str, n_source_words: int) -> list[TargetToken]:
    """Return the tokens, cut where words begin, with single spaces and with positions that exist."""
    pieces = list[TargetToken]()
    for token in tokens:
        position = token.source_word
        if position is not None:
            position = min(max(position, 0), n_source_words - 1)
        for text in _parts(token, target):
            pieces.append(TargetToken(" " + text.lstrip() if text[0].isspace() else text, position))
    return pieces


def words_of(pieces: Sequence[TargetToken], target: str, told: str) -> list[TargetWord]:
    """Return the words that the pieces make. told: the text before them, with which they do not run together."""
    words, start = list[TargetWord](), 0
    for end in range(1, len(pieces) + 1):
        # A digit and the mark behind it may be two pieces.
        before = "".join(piece.text for piece in pieces[max(start, end - 2) : end])
        if end < len(pieces) and not _begins_word(pieces[end].text, before, target):
            continue
        text = "".join(piece.text for piece in pieces[start:end])
        if text.strip():
            words.append(TargetWord(text if words else _first(text, target, told), tuple(pieces[start:end]), end))
        start = end
    return words


def n_sensible(pieces: Sequence[TargetToken], told_pieces: Sequence[str], source_words: Sequence[str]) -> int:
    """Return how many pieces come before a loop, in which they end, and before there are too many for so many words."""
    most = _FREE_PIECES + _MOST_PIECES_PER_WORD * len(source_words) - len(told_pieces)
    n = max(0, min(len(pieces), most))
    if _says_again_and_again([word.strip().casefold() for word in source_words]):
        return n
    texts = [*told_pieces, *(piece.text for piece in pieces[:n])]
    while texts and not any(character.isalnum() for character in texts[-1]):
        texts.pop()
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    n_repeated = repeated_tail([numbers[text] for text in texts])
    return max(0, len(texts) - n_repeated - len(told_pieces)) if n_repeated else n


def _says_again_and_again(words: Sequence[str]) -> bool:
    """Whether the same is said three times on end, and so may its translation."""
    return any(
        words[start : start + n] == words[start + n : start + 2 * n] == words[start + 2 * n : start + 3 * n]
        for n in range(1, len(words) // 3 + 1)
        for start in range(len(words) - 3 * n + 1)
    )


def _parts(token: TargetToken, target: str) -> Iterator[str]:
    # Half of a surrogate pair, as a JSON string may hold, can neither be written nor cut into sentences.
    whole = token.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for text in _PIECE.findall(whole):
        if target in LANGUAGES_WITHOUT_SPACES and token.source_word is None:
            # Readings are compared in words, and may come as one long token.
            yield from _characters(text)
        else:
            yield text


def _characters(text: str) -> Iterator[str]:
    """Yield the characters, each with its space and its marks; Latin letters, and numbers, stay together."""
    start = 0
    for end in range(1, len(text)):
        is_mark = unicodedata.category(text[end]).startswith("M")
        if not (is_mark or text[start:end].isspace() or _runs_on(text[start:end], text[end])):
            yield text[start:end]
            start = end
    yield text[start:]


def _runs_on(before: str, after: str) -> bool:
    """Whether Latin letters, or a number, go on behind a text that is not empty."""
    is_latin = (before[-1] + after[0]).isascii() and before[-1].isalnum() and after[0].isalnum()
    return is_latin or continues_number(before, after)


def _begins_word(text: str, before: str, target: str) -> bool:
    if text[0] == " ":
        return True
    if target not in LANGUAGES_WITHOUT_SPACES or before == " ":
        return False
    # Punctuation belongs to the word before it.
    return any(character.isalnum() for character in text) and not _runs_on(before, text)


def _first(text: str, target: str, told: str) -> str:
    """Return the text of the first word of a reading as it follows what was told."""
    if target in LANGUAGES_WITHOUT_SPACES:
        return text if told else text.lstrip()
    return f" {text.lstrip()}" if not told or text[:1].isalnum() else text
