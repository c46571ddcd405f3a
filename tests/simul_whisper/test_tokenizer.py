"""Text <-> tokens for the genuine vocabularies, and the special tokens that are computed."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.errors import ConfigError, WeightsError
from simul_whisper.languages import LANGUAGES
from simul_whisper.weights import model_directory
from simul_whisper.whisper_tokenizer import WhisperTokenizer
from tests.fakes import tokenizer_of

MODELS = ["tiny.en", "base"]


def file_of(name: str) -> Path:
    return model_directory(name) / "tokenizer.json"


def specials(tokenizer: WhisperTokenizer) -> list[int]:
    """In the order of OpenAI's list."""
    return [
        *(tokenizer.eot, tokenizer.sot, tokenizer.translate, tokenizer.transcribe, tokenizer.sot_lm),
        *(tokenizer.sot_prev, tokenizer.no_speech, tokenizer.no_timestamps),
    ]


def test_special_tokens_of_an_english_model() -> None:
    tokenizer = tokenizer_of("tiny.en")
    assert not tokenizer.multilingual
    assert specials(tokenizer) == [50256, 50257, 50357, 50358, 50359, 50360, 50361, 50362]
    assert tokenizer.sot_sequence("en", "transcribe") == [50257, 50362]


def test_special_tokens_of_a_multilingual_model() -> None:
    tokenizer = tokenizer_of("base")
    assert tokenizer.multilingual
    assert specials(tokenizer) == [50257, 50258, 50358, 50359, 50360, 50361, 50362, 50363]
    assert tokenizer.language_tokens == range(50259, 50358)
    assert tokenizer.languages == LANGUAGES[:99]
    assert tokenizer.sot_sequence("en", "transcribe") == [50258, 50259, 50359, 50363]
    assert tokenizer.sot_sequence("de", "translate") == [50258, 50261, 50358, 50363]


def test_large_v3_has_one_more_language() -> None:
    tokenizer = WhisperTokenizer(file_of("base"), 51866)
    assert tokenizer.languages == LANGUAGES
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 100
    assert specials(tokenizer) == [50257, 50258, 50359, 50360, 50361, 50362, 50363, 50364]
    assert tokenizer.sot_sequence("yue", "transcribe") == [50258, 50358, 50360, 50364]


@pytest.mark.parametrize("name", MODELS)
def test_computed_specials_are_those_of_the_file(name: str) -> None:
    tokenizer = tokenizer_of(name)
    added = {each["content"]: each["id"] for each in json.loads(file_of(name).read_text("utf-8"))["added_tokens"]}
    names = "endoftext startoftranscript translate transcribe startoflm startofprev nospeech notimestamps".split()
    computed = {f"<|{each}|>": token for each, token in zip(names, specials(tokenizer), strict=True)}
    computed |= {
        f"<|{language}|>": token for language, token in zip(tokenizer.languages, tokenizer.language_tokens, strict=True)
    }
    # One converter calls it so.
    added.setdefault("<|nospeech|>", added.get("<|nocaptions|>", -1))
    shared = computed.keys() & added.keys()
    assert len(shared) >= 99
    assert {each: computed[each] for each in shared} == {each: added[each] for each in shared}


@pytest.mark.parametrize("name", MODELS)
def test_symbols_that_are_not_speech_are_those_of_openai(name: str) -> None:
    tokenizer = tokenizer_of(name)
    theirs = json.loads((model_directory(name) / "config.json").read_text("utf-8"))["suppress_ids"]
    assert set(tokenizer.non_speech_tokens) == {token for token in theirs if token < tokenizer.sot}


@pytest.mark.parametrize("name", MODELS)
def test_brackets_describe_and_notes_and_quotes_do_not(name: str) -> None:
    tokenizer = tokenizer_of(name)
    assert set(tokenizer.describing_tokens) < set(tokenizer.non_speech_tokens)
    assert {tokenizer.encode(text)[0] for text in ("[", " [", " (", "(", " *", ' ("')} <= set(
        tokenizer.describing_tokens
    )
    assert not {tokenizer.encode(text)[0] for text in (" ♪", ' "', " -", ")", " ]")} & set(tokenizer.describing_tokens)


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None)
@given(text=st.text())
def test_any_text_comes_back(name: str, text: str) -> None:
    tokenizer = tokenizer_of(name)
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert all(token < tokenizer.eot for token in tokens)


@pytest.mark.parametrize("text", ["🙂", "𠮷", " 👩‍👩‍👧", "naïve", "ไทย", "日本語", "\n", "Ā"])
def test_bytes_of_tokens_join_to_the_text(text: str) -> None:
    tokenizer = tokenizer_of("base")
    assert b"".join(tokenizer.bytes_of(token) for token in tokenizer.encode(text)).decode() == text


def test_half_a_character_is_a_replacement_character() -> None:
    tokenizer = tokenizer_of("base")
    tokens = tokenizer.encode("𠮷")
    assert len(tokens) > 2
    assert "\ufffd" in tokenizer.decode(tokens[:-1])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", ["<|endoftext|>", "<|startoftranscript|><|en|>", " <|0.00|> hello"])
def test_text_that_looks_like_a_special_token_is_text(name: str, text: str) -> None:
    tokenizer = tokenizer_of(name)
    tokens = tokenizer.encode(text)
    assert max(tokens) < tokenizer.eot
    assert tokenizer.decode(tokens) == text


@pytest.mark.parametrize("name", MODELS)
def test_special_tokens_have_no_text(name: str) -> None:
    tokenizer = tokenizer_of(name)
    assert tokenizer.decode([tokenizer.eot, *tokenizer.special_tokens]) == ""
    assert tokenizer.special_tokens == range(tokenizer.sot, tokenizer.n_vocab)


@pytest.mark.parametrize("name", ["tiny.en", "base"])
@pytest.mark.parametrize("word", [" the", " two", " there", " to", " that"])
def test_common_words_are_one_token(name: str, word: str) -> None:
    assert len(tokenizer_of(name).encode(word)) == 1


def test_words_begin_with_a_space() -> None:
    tokenizer = tokenizer_of("base")
    first, *others = tokenizer.encode(" untranslatability")
    assert tokenizer.starts_word(first)
    assert others
    assert not any(tokenizer.starts_word(token) for token in others)
    assert tokenizer.starts_word(tokenizer.eot)


@pytest.mark.parametrize(("text", "expected"), [("ness", True), ("'t", True), ("-", True), (",", False), (" a", False)])
def test_punctuation_is_no_part_of_the_word_before_it(text: str, expected: bool) -> None:
    tokenizer = tokenizer_of("base")
    token = next(token for token in range(tokenizer.eot) if tokenizer.bytes_of(token) == text.encode())
    assert tokenizer.continues_word(token) == expected
    assert not tokenizer.continues_word(tokenizer.eot)
    assert tokenizer.bytes_of(tokenizer.blank) == b" "


@pytest.mark.parametrize(
    ("name", "n_vocab"), [("tiny.en", 51865), ("base", 51864), ("base", 51867), ("base", 1000), ("base", 50258)]
)
def test_another_vocabulary_is_refused(name: str, n_vocab: int) -> None:
    with pytest.raises(WeightsError, match="belongs to another model"):
        WhisperTokenizer(file_of(name), n_vocab)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    with pytest.raises(WeightsError, match=r"tokenizer\.json: not a tokenizer"):
        WhisperTokenizer(file, 51865)
    file.write_text("{")
    with pytest.raises(WeightsError, match=r"tokenizer\.json: not a tokenizer"):
        WhisperTokenizer(file, 51865)


def test_what_the_model_lacks_is_refused() -> None:
    refused = "can only transcribe English, so it cannot"
    for language, task, wish in (("de", "transcribe", r"write down German \(de\)"), ("en", "translate", "translate")):
        with pytest.raises(ConfigError, match=f"{refused} {wish}; use a multilingual model"):
            tokenizer_of("tiny.en").sot_sequence(language, task)
    with pytest.raises(ConfigError, match=r"this model does not know Cantonese \(yue\); use one that does"):
        tokenizer_of("base").sot_sequence("yue", "transcribe")
