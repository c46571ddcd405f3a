"""A tokenizer.json that a stranger made is read, or refused in one line, and never hangs over a text."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from simul_whisper.errors import WeightsError
from simul_whisper.whisper_tokenizer import _BYTE_OF_CHARACTER, WhisperTokenizer
from tests.hostile_files import damaged, damaged_json, only_our_errors
from tests.properties import examples

N_VOCAB, EOT = 51865, 50257
ALPHABET = {character: number for number, character in enumerate(_BYTE_OF_CHARACTER)}
VOCABULARY = ALPHABET | {"Ġt": 300, "he": 301, "Ġthe": 302}
SMALL: dict[str, Any] = {
    "added_tokens": [{"id": EOT, "content": "<|endoftext|>", "special": True}],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
    "truncation": None,
    "padding": None,
    "model": {
        "merges": ["Ġ t", ["h", "e"], "Ġt he"],
        "type": "BPE",
        "vocab": VOCABULARY,
    },
}
TEXT = "the <|endoftext|> naïve 日本 " + "a" * 2000


def written(folder: Path, content: Any) -> Path:
    file = folder / "tokenizer.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def use(tokenizer: WhisperTokenizer) -> None:
    """Everything that the engine asks of it."""
    tokens = tokenizer.encode(TEXT)
    assert all(0 <= token < EOT for token in tokens)
    assert tokenizer.decode(tokens) == TEXT
    assert {tokenizer.blank, *tokenizer.describing_tokens} < set(range(EOT))
    assert set(tokenizer.describing_tokens) <= set(tokenizer.non_speech_tokens)


def test_a_small_one_is_read(tmp_path: Path) -> None:
    tokenizer = WhisperTokenizer(written(tmp_path, SMALL), N_VOCAB)
    use(tokenizer)
    assert tokenizer.encode(" the") == [302]


@examples(200)
@given(content=damaged_json(json.dumps(SMALL)) | damaged(json.dumps(SMALL).encode()))
def test_a_damaged_one_is_read_or_refused(content: bytes, tmp_path: Path) -> None:
    with only_our_errors():
        use(WhisperTokenizer(written(tmp_path, content), N_VOCAB))


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|a)*b"}, "behavior": "Isolated", "invert": False}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "x" * 9999}},
        {"padding": {"strategy": {"Fixed": 2**40}, "direction": "Left", "pad_id": 0, "pad_token": "x"}},
        {"added_tokens": [*SMALL["added_tokens"], {"id": 0, "content": "a", "special": False}]},
    ],
)
def test_what_a_file_would_do_to_texts_is_not_done(changes: dict[str, Any], tmp_path: Path) -> None:
    use(WhisperTokenizer(written(tmp_path, SMALL | changes), N_VOCAB))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"vocab": ALPHABET | {"☃": 400}}, "not made of the 256 bytes"),
        ({"vocab": {"a": 0}}, "not made of the 256 bytes"),
        ({"vocab": VOCABULARY | {"Ġt": 0}}, "the same id"),
        ({"vocab": ALPHABET | {"Ġt": -1}}, "not numbers"),
        ({"vocab": ALPHABET | {"Ġt": [300]}}, "not numbers"),
        ({"merges": ["x y"]}, "not in its vocabulary"),
        ({"merges": [["Ġ", "t", "h"]]}, "not pairs"),
        ({"merges": None}, "no vocabulary and merges"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(model: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"not a tokenizer: .*{said}"):
        WhisperTokenizer(written(tmp_path, SMALL | {"model": SMALL["model"] | model}), N_VOCAB)
