"""Text cut at phrases: nothing lost, no word and no number cut."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.voices.phrases import MOST_CHARACTERS, phrases

TEXT = (
    "a house of cards, Dr. Smith; 1,000 10 000 3.5 10:30 e.g. well-known: “yes,” no! (perhaps) — and, so? Really… \n \t"
)
WORDS = st.sampled_from(TEXT.split(" "))
WIDE = st.sampled_from(["今日", "は", "、", "。", "カラオケ", "2026", "年", "abc", "！", "「", "」", " "])


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["Dr. Smith came to the harbour at 10:30, ", "and left again; how are you? ", "Fine, thanks."]),
        ("en", ["Yes, no, maybe, I do not know."]),
        ("en", ["He paid 1,000 or 10 000 euros, ", "and e.g. this one too."]),
        ("fr", ["Il y a 10 000 habitants, ", "dit-il : « oui » — ", "et 1,5 km plus loin."]),
        ("de", ["Das ist der 3. Oktober, ", "und es regnet heute nicht."]),
        ("ja", ["今日はとても良い天気ですね。", "散歩に行きましょう、", "それから昼ご飯を食べます。"]),
        ("zh", ["今天天气很好，", "我们去公园吧。"]),
        ("th", ["สวัสดีครับ ยินดีต้อนรับ"]),
        ("en", []),
    ],
)
def test_phrases_end_where_somebody_would_pause(language: str, expected: list[str]) -> None:
    assert phrases("".join(expected), language) == expected


def test_the_first_phrase_of_a_long_sentence_is_short() -> None:
    text = (
        "When the rain had stopped at last, the two of them walked along the river, and they talked until it was dark."
    )
    assert phrases(text, "en")[0] == "When the rain had stopped at last, "


def test_what_has_no_commas_is_cut_between_words_into_like_pieces() -> None:
    found = phrases("word " * 60 + "end", "en")
    assert len(found) == 3
    assert all(80 < len(phrase) <= MOST_CHARACTERS for phrase in found)


@given(st.lists(WORDS, max_size=80))
def test_nothing_is_lost_and_no_word_or_number_is_cut(words: list[str]) -> None:
    text = " ".join(words)
    found = phrases(text, "en")
    assert "".join(found) == text
    tokens = re.findall(r"10 000|\S+", text)
    assert [token for phrase in found for token in re.findall(r"10 000|\S+", phrase)] == tokens
    assert all(len(phrase.strip()) <= MOST_CHARACTERS + 40 for phrase in found)


@given(st.lists(WIDE, max_size=80))
def test_without_spaces_no_number_and_no_latin_word_is_cut(words: list[str]) -> None:
    text = "".join(words)
    found = phrases(text, "ja")
    assert "".join(found) == text
    tokens = re.findall(r"[0-9a-z]+", text)
    assert [token for phrase in found for token in re.findall(r"[0-9a-z]+", phrase)] == tokens


@pytest.mark.parametrize("text", ["x" * 9_000, "a " * 5_000, "1 " * 5_000, "," * 9_000, "今" * 9_000, "“" * 9_000])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_hostile_text_is_cut_in_no_time(text: str, language: str) -> None:
    assert "".join(phrases(text, language)) == text
