"""The directory of a translator in CTranslate2's format: of which family it is, and what its vocabulary says.

A directory is somebody else's: every file is read within bounds, and what is wrong is told in one line. It loads no
model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, parse_json, read_bytes, shown

MODEL_FILE = "model.bin"
_CONFIG = "config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_VOCABULARIES = ("shared_vocabulary", "source_vocabulary", "target_vocabulary")
_SHARED_PIECES = ("sentencepiece.bpe.model", "spiece.model", "sentencepiece.model", "spm.128k.model")
_SOURCE_PIECES, _TARGET_PIECES = "source.spm", "target.spm"
FILES = (
    MODEL_FILE,
    _CONFIG,
    _TOKENIZER_CONFIG,
    *(f"{name}.*" for name in _VOCABULARIES),
    *_SHARED_PIECES,
    _SOURCE_PIECES,
    _TARGET_PIECES,
    "alignment.json",
)
"""Patterns of what to fetch of a hub's model."""
# NLLB's vocabulary takes 6 MB as JSON, MADLAD's tokenizer 4 MB.
_MOST_VOCABULARY_BYTES = 64 << 20
_MOST_TOKENS = 1 << 20


class Family(Enum):
    """How a model is told the languages: by a word before the source, or before both texts, or not at all."""

    OPUS_MT = "OPUS-MT"
    M2M100 = "M2M100"
    NLLB = "NLLB-200"
    MADLAD = "MADLAD-400"


LANGUAGE_TOKENS = {
    Family.OPUS_MT: re.compile(r">>([A-Za-z]{2,3}(?:_[A-Za-z]+)?)<<"),
    Family.M2M100: re.compile(r"__([a-z]{2,3})__"),
    Family.NLLB: re.compile(r"([a-z]{3}_[A-Z][a-z]{3})"),
    Family.MADLAD: re.compile(r"<2([a-z]{2,3}(?:_[A-Z][a-z]{3})?)>"),
}
"""Each family's tokens that name a language, and what in them is the language."""


@dataclass(frozen=True)
class ModelFiles:
    """What the files of a directory say.

    source_vocabulary: its tokens. source_pieces, target_pieces: SentencePiece models, which may be the same file.
    adds_end: whether CTranslate2 itself ends the source. pair: the languages, as the tokenizer's settings spell them.
    """

    directory: Path
    family: Family
    source_vocabulary: Sequence[str]
    source_pieces: Path
    target_pieces: Path
    end_token: str
    adds_end: bool
    pair: tuple[str, str] | None


def read_files(directory: Path) -> ModelFiles:
    """Read what says how to use a model. Raises WeightsError."""
    if not (directory / MODEL_FILE).is_file():
        raise WeightsError(
            f"{directory}: got no {MODEL_FILE}, expected a model in CTranslate2's format; ct2-transformers-converter "
            "makes one of a model for PyTorch"
        )
    config = _read_object(directory / _CONFIG)
    vocabulary = _source_vocabulary(directory)
    pieces = _pieces(directory)
    end_token = config.get("eos_token", "</s>")
    if not isinstance(end_token, str):
        raise WeightsError(f"{directory / _CONFIG}: got eos_token = {shown(end_token)}, expected a text")
    return ModelFiles(
        directory,
        _family(directory, vocabulary, pieces[0]),
        vocabulary,
        *pieces,
        end_token,
        config.get("add_source_eos") is True,
        _pair(directory),
    )


def beside_weights(directory: Path) -> dict[str, bytes]:
    """Return the other files that CTranslate2 reads. Raises OSError and ValueError."""
    vocabularies = [path for name in _VOCABULARIES for path in directory.glob(f"{name}.*")]
    return {path.name: read_bytes(path, _MOST_VOCABULARY_BYTES) for path in (directory / _CONFIG, *vocabularies)}


def _family(directory: Path, vocabulary: Sequence[str], source_pieces: Path) -> Family:
    if source_pieces.name == _SOURCE_PIECES:
        return Family.OPUS_MT
    tokens = set(vocabulary)
    for family, token in ((Family.M2M100, "__en__"), (Family.NLLB, "eng_Latn"), (Family.MADLAD, "<2en>")):
        if token in tokens:
            return family
    raise WeightsError(
        f"{directory}: its vocabulary names no languages; expected {', '.join(each.value for each in Family)}"
    )


def _pieces(directory: Path) -> tuple[Path, Path]:
    """Return the SentencePiece models of source and target."""
    both = directory / _SOURCE_PIECES, directory / _TARGET_PIECES
    if all(path.is_file() for path in both):
        return both
    for name in _SHARED_PIECES:
        if (directory / name).is_file():
            return directory / name, directory / name
    raise WeightsError(
        f"{directory}: got no SentencePiece model, expected {_SOURCE_PIECES} and {_TARGET_PIECES}, or one of "
        f"{', '.join(_SHARED_PIECES)}; copy it from the model that this one was converted from"
    )


def _source_vocabulary(directory: Path) -> Sequence[str]:
    for name in _VOCABULARIES[:2]:
        for path in (directory / f"{name}.json", directory / f"{name}.txt"):
            if path.exists():
                return _tokens(path)
    raise WeightsError(f"{directory}: got no vocabulary, expected {_VOCABULARIES[0]}.json or {_VOCABULARIES[0]}.txt")


def _tokens(path: Path) -> Sequence[str]:
    try:
        content = read_bytes(path, _MOST_VOCABULARY_BYTES)
        tokens: Any = parse_json(content) if path.suffix == ".json" else content.decode("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {one_line(error)}") from error
    if not isinstance(tokens, list) or len(tokens) > _MOST_TOKENS or not all(isinstance(each, str) for each in tokens):
        raise WeightsError(f"{path}: got no list of at most {_MOST_TOKENS} tokens; it is damaged")
    return tokens


def _pair(directory: Path) -> tuple[str, str] | None:
    """Return the languages that the tokenizer's settings name; many models have none."""
    path = directory / _TOKENIZER_CONFIG
    if not path.exists():
        return None
    config = _read_object(path)
    source, target = config.get("source_lang"), config.get("target_lang")
    return (source, target) if isinstance(source, str) and isinstance(target, str) else None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path}: got {shown(found)}, expected an object")
    return found
