"""What of a text can be spoken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import VoiceError, language_names
from simul_whisper.voices.spoken_text import MOST_CHARACTERS, speakable


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Hi 😀 there", "en", "Hi there"),
        ("5 °C for $3 ™", "en", "5 °C for $3"),
        ("I said Привет, twice", "en", "I said , twice"),
        ("Привет мир OK", "ru", "Привет мир OK"),
        ("カラオケー 行く", "ja", "カラオケー 行く"),
        ("नमस्ते दुनिया", "hi", "नमस्ते दुनिया"),
        ("می\u200cخواهم", "fa", "می\u200cخواهم"),
        ("red\x1b[31m\u202e text", "en", "red [31m text"),
        ("Zürich, naïve, Ærø", "en", "Zürich, naïve, Ærø"),
    ],
)
def test_emoji_signs_and_other_scripts_are_left_out(text: str, language: str, expected: str) -> None:
    assert speakable(text, language).split() == expected.split()


@pytest.mark.parametrize("text", ["", "  ", "😀👍🏽 ❤️", "... !?", "™ ☃", "\x00\x1b"])
def test_nothing_to_be_spoken_is_nothing(text: str) -> None:
    assert speakable(text, "en") == ""


@pytest.mark.parametrize(("text", "language"), [("Привет", "en"), ("你好", "de"), ("안녕", "ja"), ("שלום", "ar")])
def test_only_words_of_another_script_is_an_error(text: str, language: str) -> None:
    with pytest.raises(VoiceError, match=f"script that {language_names()[language]} is written in"):
        speakable(text, language)


def test_a_text_has_a_most_length() -> None:
    with pytest.raises(VoiceError, match="expected at most"):
        speakable("a" * (MOST_CHARACTERS + 1), "en")


@given(st.text(max_size=200), st.sampled_from(sorted(language_names())))
def test_whatever_is_written_is_cleaned_or_refused(text: str, language: str) -> None:
    try:
        found = speakable(text, language)
    except VoiceError:
        assert any(map(str.isalpha, text))
    else:
        assert found == "" or any(map(str.isalnum, found))
        assert not any(character < " " for character in found)
