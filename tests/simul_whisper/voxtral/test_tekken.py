"""Mistral's tokenizer: what it reads is the bytes of every text, and what a stranger made of it is refused in one line.

Against mistral-common it was compared by hand, with `scripts/compare_tekken.py`.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.errors import WeightsError
from simul_whisper.voxtral.tekken import REQUIRED, TekkenTokenizer
from tests.hostile_files import damaged, damaged_json, only_our_errors
from tests.properties import examples
from tests.voxtral_files import DIMS, SPECIAL, WORDS, write_tekken

TEXT = "lang:en[TRANSCRIBE] naïve 日本 😀</s>\r\n\tthe  end 123 " + "a" * 2000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tekken(tmp_path_factory.mktemp("model") / "tekken.json")


@pytest.fixture(scope="module")
def tokenizer(file: Path) -> TekkenTokenizer:
    return TekkenTokenizer(file, DIMS.n_vocab)


def changed(file: Path, **changes: Any) -> Path:
    """Write the tokenizer beside it, with other values."""
    other = file.with_name("other.json")
    other.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return other


def test_special_tokens_have_their_ids_and_no_bytes(tokenizer: TekkenTokenizer) -> None:
    assert tokenizer.n_special == len(SPECIAL)
    for name in REQUIRED:
        assert tokenizer.special(name) == SPECIAL.index(name)
        assert tokenizer.bytes_of(tokenizer.special(name)) == b""


def test_words_are_tokens(tokenizer: TekkenTokenizer) -> None:
    for word in WORDS:
        for text in (word, f" {word}"):
            (token,) = tokenizer.encode(text)
            assert token >= tokenizer.n_special
            assert tokenizer.bytes_of(token).decode() == text
    assert [tokenizer.decode([token]) for token in tokenizer.encode("lang:en")] == ["lang", ":", "en"]


@examples(100)
@given(text=st.text())
def test_every_text_comes_back(text: str, tokenizer: TekkenTokenizer) -> None:
    tokens = tokenizer.encode(text)
    assert all(tokenizer.n_special <= token < tokenizer.n_vocab for token in tokens)
    assert tokenizer.decode(tokens) == text


def test_half_a_character_is_none(tokenizer: TekkenTokenizer) -> None:
    tokens = tokenizer.encode("日")
    assert tokenizer.decode([SPECIAL.index("</s>"), *tokens[:-1]]) == "\N{REPLACEMENT CHARACTER}"


def test_tokens_that_the_model_has_not_are_left_out(file: Path) -> None:
    """Mistral's own files list more than are used."""
    content = json.loads(file.read_text())
    last = {"rank": len(content["vocab"]), "token_bytes": base64.b64encode(b" twelve").decode(), "token_str": " twelve"}
    tokenizer = TekkenTokenizer(changed(file, vocab=[*content["vocab"], last]), DIMS.n_vocab)
    assert max(tokenizer.encode(" twelve")) < DIMS.n_vocab


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"special_tokens": None}, "has no token <s>, </s>, [INST]"),
        ({"special_tokens": [{"rank": 1, "token_str": "<s>"}, {"rank": 1, "token_str": "</s>"}]}, "the same rank"),
        ({"special_tokens": [{"rank": 512, "token_str": "<s>"}]}, "got the special token"),
        ({"vocab": []}, "fewer than 476 tokens"),
        ({"vocab": [{"rank": n, "token_bytes": "AA=="} for n in range(600)]}, "are not the 256 bytes"),
        ({"vocab": [{"rank": 1, "token_bytes": "AA=="}] * 600}, "as token 0"),
        ({"vocab": [{"rank": n, "token_bytes": "A" * 3} for n in range(600)]}, "not a Tekken tokenizer"),
        ({"config": {}}, "it has no pattern"),
        ({"config": {"pattern": "(a+)+$", "default_vocab_size": 512, "default_num_special_tokens": 36}}, "the pattern"),
    ],
)
def test_what_is_no_tokenizer_of_voxtral_is_refused(file: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WeightsError) as refused:
        TekkenTokenizer(changed(file, **changes))
    assert said in str(refused.value)
    with only_our_errors():
        raise refused.value


def test_two_tokens_of_the_same_bytes_are_refused(file: Path) -> None:
    vocabulary = json.loads(file.read_text())["vocab"]
    vocabulary[300]["token_bytes"] = vocabulary[301]["token_bytes"]
    with pytest.raises(WeightsError, match="two of its tokens are the same"):
        TekkenTokenizer(changed(file, vocab=vocabulary))


def test_the_tokenizer_of_another_model_is_refused(file: Path) -> None:
    with pytest.raises(WeightsError, match="another model: got 512 tokens, expected 131072"):
        TekkenTokenizer(file, 131072)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"config": 3}', b"[" * 100_000])
def test_what_is_no_object_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tekken.json").write_bytes(content)
    with pytest.raises(WeightsError, match="not a Tekken tokenizer"):
        TekkenTokenizer(tmp_path / "tekken.json")


@examples(60)
@given(data=st.data())
def test_a_damaged_one_is_read_or_refused(data: st.DataObject, file: Path, tmp_path: Path) -> None:
    whole = file.read_text()
    content = data.draw(damaged_json(whole) if data.draw(st.booleans()) else damaged(whole.encode()))
    copy = tmp_path / "tekken.json"
    copy.write_bytes(content)
    with only_our_errors():
        tokenizer = TekkenTokenizer(copy, DIMS.n_vocab)
        assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
