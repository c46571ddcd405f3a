"""Mistral's tokenizer, from a model's tekken.json: byte-level BPE, with the special tokens at the first ids.

tiktoken does the merging. Only the tokens are taken from the file: the pattern that cuts text up is the same in all of
Mistral's, and one that a stranger wrote may take for ever, or end the program.
"""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tiktoken import Encoding

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, read_json, shown

_MOST_BYTES = 24 << 20  # the models' own have 15 MB
_MOST_TOKENS = 1 << 20
_LONGEST_TOKEN = 1024
REQUIRED = ("<s>", "</s>", "[INST]", "[/INST]", "[AUDIO]", "[BEGIN_AUDIO]", "[TRANSCRIBE]")
"""Special tokens that every Voxtral has."""
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Words with what stands before them, single digits, signs, ends of lines, spaces."""


class TekkenTokenizer:
    """The tokenizer of one model.

    n_vocab: how many tokens the model has; None for as many as the file says. `n_special` of them are special.
    Raises WeightsError when the file is damaged or belongs to another model.
    """

    def __init__(self, file: Path, n_vocab: int | None = None) -> None:
        try:
            content = read_json(file, _MOST_BYTES)
            self.n_vocab, self.n_special = _sizes(content)
            self._special = _special_tokens(content, self.n_special)
            self._tokens = _vocabulary(content, self.n_vocab - self.n_special)
            ranks = {token: rank for rank, token in enumerate(self._tokens)}
            if len(ranks) < len(self._tokens):
                raise ValueError("two of its tokens are the same")
            self._bpe = Encoding("tekken", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
        except (OSError, ValueError) as error:
            raise WeightsError(f"{file}: not a Tekken tokenizer: {one_line(error)}") from error
        missing = [name for name in REQUIRED if name not in self._special]
        if missing:
            raise WeightsError(f"{file}: has no token {', '.join(missing)}; it is not the tokenizer of a Voxtral model")
        if n_vocab not in (None, self.n_vocab):
            raise WeightsError(f"{file}: belongs to another model: got {self.n_vocab} tokens, expected {n_vocab}")

    def special(self, name: str) -> int:
        """Return the id of a special token, one of `REQUIRED` or another that the file names."""
        return self._special[name]

    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`; text that looks like a special token is only text."""
        return [self.n_special + rank for rank in self._bpe.encode_ordinary(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`, without special ones; half characters become U+FFFD."""
        return b"".join(map(self.bytes_of, tokens)).decode("utf-8", errors="replace")

    def bytes_of(self, token: int) -> bytes:
        """Return the UTF-8 bytes of a token, often not whole characters; none for special tokens."""
        return b"" if token < self.n_special else self._tokens[token - self.n_special]


def _sizes(content: Any) -> tuple[int, int]:
    """Return how many tokens there are, and how many of them are special."""
    match content:
        case {"config": {"pattern": pattern, "default_vocab_size": int(n), "default_num_special_tokens": int(special)}}:
            if pattern != PATTERN:
                raise ValueError(f"got the pattern {shown(pattern)}, expected Tekken's")
            if not 0 < special < n <= _MOST_TOKENS:
                raise ValueError(f"got {special} special tokens of {n} in all, expected at most {_MOST_TOKENS}")
            return n, special
    raise ValueError("it has no pattern, default_vocab_size and default_num_special_tokens")


def _special_tokens(content: Any, n_special: int) -> dict[str, int]:
    ids = dict[str, int]()
    listed = content.get("special_tokens")
    for each in listed if isinstance(listed, list) else []:
        match each:
            case {"rank": int(number), "token_str": str(name)} if 0 <= number < n_special and name not in ids:
                ids[name] = number
            case _:
                raise ValueError(f"got the special token {shown(each)}, expected its rank and its token_str, each once")
    if len(set(ids.values())) < len(ids):
        raise ValueError("two special tokens have the same rank")
    return ids


def _vocabulary(content: Any, n_tokens: int) -> list[bytes]:
    """Return the bytes of each token; those after the last that the model has are left out."""
    listed = content.get("vocab")
    if not isinstance(listed, list) or len(listed) < n_tokens:
        raise ValueError(f"its vocabulary has fewer than {n_tokens} tokens")
    tokens = [_token(rank, each) for rank, each in enumerate(listed[:n_tokens])]
    if tokens[:256] != [bytes([byte]) for byte in range(256)]:
        raise ValueError("its first tokens are not the 256 bytes")
    return tokens


def _token(rank: int, written: Any) -> bytes:
    match written:
        case {"rank": int(number), "token_bytes": str(coded)} if number == rank:
            token = base64.b64decode(coded, validate=True)
            if 0 < len(token) <= _LONGEST_TOKEN:
                return token
    raise ValueError(f"got {shown(written)} as token {rank}, expected its rank and its token_bytes")
