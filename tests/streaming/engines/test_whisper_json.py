"""What whisper.cpp has really written, and what it might write, is read as words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import BackendError, Word
from streaming.engines.whisper_json import read_transcription
from tests.conftest import RECORDINGS
from tests.hostile_files import damaged, damaged_json, only_our_errors
from tests.properties import examples
from tests.streaming.engines.stand_in import SEGMENTS
from tests.streaming.engines.whisper_program import written

# Of demos/recordings/captions.flac, by whisper.cpp of April 2024, with tiny.en.
GENUINE = Path(__file__).parents[2] / "data" / "whisper-cli-captions.json"


def words_of(segments: list[dict[str, Any]], audio_s: float = 10.0, language: str = "en") -> list[Word]:
    content = written({"segments": segments, "language": language, "multilingual": True})
    found = read_transcription(content, audio_s, is_translated=False)
    return [word for passage in found.passages for word in passage]


def texts_of(*tokens: str) -> list[str]:
    return [word.text for word in words_of([{"ms": [0, 1000], "tokens": [{"text": token} for token in tokens]}])]


def test_genuine_output_is_the_text_of_the_recording() -> None:
    found = read_transcription(GENUINE.read_bytes(), 10.611, is_translated=False)
    assert (found.language, found.is_multilingual) == ("en", False)
    lines = ["".join(word.text for word in passage).strip() for passage in found.passages]
    assert lines == (RECORDINGS / "captions.txt").read_text().splitlines()
    words = [word for passage in found.passages for word in passage]
    # Its full stop was heard at 3.90 s.
    assert replace(words[9], probability=0) == Word(" speaking.", 2.95, 3.22, 0, "en")
    assert words[9].probability == pytest.approx((0.997141 * 0.809189) ** 0.5)


def test_tokens_make_words() -> None:
    assert [replace(word, probability=round(word.probability, 6)) for word in words_of(SEGMENTS)] == [
        Word(" Hello,", 0.0, 0.4, 0.5, "en"),
        Word(" world.", 0.5, 0.9, 0.5, "en"),
        Word(" Bye.", 1.7, 1.9, 0.5, "en"),
    ]


@pytest.mark.parametrize("special", ["[_BEG_]", "[_TT_203]", "[_EOT_]", "[_LANG_de]", "[_extra_token_51000]"])
def test_special_tokens_are_no_text(special: str) -> None:
    assert texts_of(" a", special, " b") == [" a", " b"]


def test_tokens_after_the_end_of_text_are_no_text() -> None:
    tokens = [{"text": " a", "id": 50256}, {"text": "<|endoftext|>", "id": 50257}]
    assert [word.text for word in words_of([{"ms": [0, 1], "tokens": tokens}])] == [" a"]


def latin(text: str) -> str:
    """The bytes of a text as characters, which the stand-in writes as bytes."""
    return text.encode().decode("latin-1")


def test_characters_that_are_cut_between_tokens_are_whole() -> None:
    umlaut = latin("ü")
    assert texts_of(" Gr", umlaut[0], umlaut[1] + "n", " ist") == [" Grün", " ist"]
    # The rest of it never comes.
    assert texts_of(" Gr", umlaut[0]) == [" Gr\ufffd"]


def test_without_spaces_each_token_is_a_word_with_its_punctuation() -> None:
    tree = latin("樹")
    tokens = [latin("電球"), latin("の"), tree[:2], tree[2], latin("、"), latin("Tシャツ")]
    assert texts_of(*tokens) == ["電球", "の", "樹、", "Tシャツ"]
    assert texts_of(latin(" 안녕"), latin("하세요")) == [" 안녕하세요"]
    assert texts_of(latin(" สวัสดี"), latin("ครับ"), " Bob", "by") == [" สวัสดี", "ครับ", " Bobby"]


def test_texts_hold_quotes_and_control_characters() -> None:
    assert texts_of(' "a\\', "\n\tb", ' c"') == [' "a\\\n\tb', ' c"']


def test_times_never_go_back_nor_beyond_the_audio() -> None:
    tokens = [
        {"text": " a", "ms": [500, 900]},
        {"text": " b", "ms": [300, 200]},
        {"text": " c"},
        {"text": " d", "ms": [1500, 90_000]},
    ]
    times = [(word.start_s, word.end_s) for word in words_of([{"ms": [400, 2500], "tokens": tokens}], 2.0)]
    assert times == [(0.5, 0.9), (0.9, 0.9), (0.9, 0.9), (1.5, 2.0)]


def test_a_translation_is_english() -> None:
    content = written({"segments": SEGMENTS, "language": "de", "multilingual": True})
    found = read_transcription(content, 2.0, is_translated=True)
    assert (found.language, found.passages[0][0].language) == ("de", "en")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "no JSON",
        "[" * 100_000,
        '{"transcription": [], "result": {"language": "en"}, "model": {}}',
        '{"transcription": {}, "result": {"language": "en"}, "model": {"multilingual": true, "vocab": 51865}}',
        '{"transcription": [], "result": {"language": "a\\nb"}, "model": {"multilingual": true, "vocab": 51865}}',
        # Without tokens, as with --output-json.
        '{"transcription": [{"offsets": {"from": 0, "to": 1}, "text": "a"}], "result": {"language": "en"}, '
        '"model": {"multilingual": true, "vocab": 51865}}',
        '{"transcription": [{"offsets": {"from": 0}, "tokens": [{"id": 4, "text": "a", "p": NaN}]}], '
        '"result": {"language": "en"}, "model": {"multilingual": true, "vocab": 51865}}',
    ],
)
def test_anything_else_is_refused(content: str) -> None:
    with pytest.raises(BackendError, match=r"not understood|not JSON"):
        read_transcription(content.encode(), 2.0, is_translated=False)


@examples(150)
@given(data=st.data())
def test_damaged_output_is_read_or_refused(data: st.DataObject) -> None:
    whole = GENUINE.read_bytes()
    content = data.draw(damaged_json(whole.decode()) | damaged(whole))
    with only_our_errors():
        found = read_transcription(content, 10.611, is_translated=False)
        words = [word for passage in found.passages for word in passage]
        assert all(0 <= word.start_s <= word.end_s <= 10.611 and 0 < word.probability <= 1 for word in words)
        assert json.dumps([vars(word) for word in words], ensure_ascii=False).encode()
