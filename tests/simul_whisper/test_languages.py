"""Languages as people write them, and what is said of one that Whisper does not know."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper import AlignAttConfig, ConfigError, SimulWhisperConfig, language_code, language_names
from simul_whisper.languages import LANGUAGES, LANGUAGES_WITHOUT_SPACES, _folded, _rows

WRITTEN = {
    "en": "en EN english English en-US en_GB eng",
    "de": "German german deutsch Deutsch de-DE deu ger",
    "zh": "zh-CN zh-Hans-CN zh_TW chinese Mandarin 中文 cmn",
    "yue": "yue zh-yue cantonese",
    "no": "nb nb-NO nob norwegian",
    "nn": "nynorsk nn-NO",
    "he": "iw hebrew עברית",
    "jw": "jv jv-ID javanese",
    "tl": "fil fil-PH Filipino tagalog",
    "id": "in indonesian",
    "yi": "ji",
    "pt": "pt-BR português Portugues PORTUGUÊS",
    "ht": "Haitian",
    "ko": "한국어 ko-KR",
    "hi": "हिन्दी",
    "auto": "auto AUTO",
}


@pytest.mark.parametrize(("written", "code"), [(each, code) for code, all_ in WRITTEN.items() for each in all_.split()])
def test_a_language_may_be_written_as_people_do(written: str, code: str) -> None:
    assert language_code(written) == code
    assert language_code(f" {written} ") == code
    for kind in (SimulWhisperConfig, AlignAttConfig):
        assert kind(language=written).validated().language == code


def test_no_spelling_means_two_languages() -> None:
    spellings = [(_folded(each), code) for code, names, codes in _rows() for each in (code, *names, *codes)]
    assert len({spelling for spelling, _ in spellings}) == len(set(spellings))
    assert all(spelling for spelling, _ in spellings)


def test_every_language_is_known_by_its_code_and_its_name() -> None:
    names = language_names()
    assert tuple(names) == LANGUAGES
    assert len(set(names.values())) == 100
    assert all(language_code(code) == language_code(name) == code for code, name in names.items())
    assert language_names(["de", "yue"]) == {"de": "German", "yue": "Cantonese"}
    assert set(names) > LANGUAGES_WITHOUT_SPACES


@pytest.mark.parametrize(
    ("written", "nearest"),
    [("Germn", r"German \(de\)"), ("Portugese", r"Portuguese \(pt\)"), ("engl", r"English \(en\)"), ("tlh", "")],
)
def test_an_unknown_language_is_answered_with_the_nearest_three(written: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"got language '{written}'.*the nearest are {nearest}") as found:
        AlignAttConfig(language=written).validated()
    assert str(found.value).count("(") == 3


@settings(deadline=None)
@given(st.text())
def test_whatever_is_written_is_a_code_or_refused(written: str) -> None:
    with suppress(ConfigError):
        assert language_code(written) in (*LANGUAGES, "auto")
