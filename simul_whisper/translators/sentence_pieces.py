"""SentencePiece: words to the pieces that a model reads, and its pieces to text; which piece is of which word."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, read_bytes

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_MOST_BYTES = 64 << 20


class SentencePieces:
    """A SentencePiece model."""

    def __init__(self, path: Path) -> None:
        """Raises WeightsError for a damaged file."""
        try:
            content = read_bytes(path, _MOST_BYTES)
            if not content:
                raise ValueError("it is empty")
            self._model = SentencePieceProcessor(model_proto=content)
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{path}: is no SentencePiece model: {one_line(error)}") from error

    def pieces(self, words: Sequence[str]) -> tuple[list[str], list[int]]:
        """Return the pieces of a text, and the word, from 0, of each.

        words: each with its leading space. No piece has text on both sides of a space; where languages write none,
        pieces and words are laid side by side by their lengths.
        """
        found, word_of = list[str](), list[int]()
        for start, end in _between_spaces(words):
            pieces: list[str] = self._model.encode("".join(words[start:end]).strip(), out_type=str)
            found += pieces
            word_of += _side_by_side(pieces, words[start:end], start)
        return found, word_of

    def texts(self, pieces: Sequence[str]) -> list[str]:
        """Return the text of each piece, with a space in front where a word begins.

        What is no text (languages, ends) is "", and so is a byte; the last byte of a character has the character.
        """
        found, pending = list[str](), b""
        for piece in pieces:
            if byte := _BYTE.fullmatch(piece):
                pending += bytes([int(byte[1], 16)])
                text = _decoded(pending)
                pending = b"" if text else pending
                found.append(text)
            else:
                pending = b""
                found.append(piece.replace(_SPACE, " ") if self._is_text(piece) else "")
        return found

    def _is_text(self, piece: str) -> bool:
        number = self._model.piece_to_id(piece)
        return not (self._model.is_unknown(number) or self._model.is_control(number))


def _between_spaces(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """First and last of the words that stand together without a space."""
    starts = [n for n, word in enumerate(words) if n == 0 or word[:1].isspace()]
    yield from zip(starts, [*starts[1:], len(words)], strict=True)


def _side_by_side(pieces: Sequence[str], words: Sequence[str], first: int) -> list[int]:
    """Return the word of each piece: the one in which it ends."""
    if len(words) == 1:
        return [first] * len(pieces)
    lengths = [len(piece.replace(_SPACE, "")) for piece in pieces]
    word_lengths = [len(word.strip()) for word in words]
    # Normalisation may have changed how many characters there are.
    scale = sum(word_lengths) / max(sum(lengths), 1)
    found, word, read, end = list[int](), 0, 0, word_lengths[0]
    for length in lengths:
        read += length
        while word < len(words) - 1 and read * scale > end + 1e-6:
            word += 1
            end += word_lengths[word]
        found.append(first + word)
    return found


def _decoded(read: bytes) -> str:
    try:
        return read.decode("utf-8")
    except UnicodeDecodeError:
        return ""
