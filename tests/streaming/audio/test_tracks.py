"""Which track is heard."""

import pytest

from simul_whisper import AudioFormatError
from streaming.audio.tracks import Track, choose_track

FRENCH, ENGLISH, COMMENTARY = Track(1, "fra"), Track(2, "eng", is_default=True), Track(3, "eng", "Commentary")
TRACKS = [FRENCH, ENGLISH, COMMENTARY]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", ENGLISH),
        *[("1", FRENCH), ("3", COMMENTARY), ("eng", ENGLISH), ("en", ENGLISH), ("EN", ENGLISH), ("en-US", ENGLISH)],
        *[
            ("fr", FRENCH),
            ("fre", FRENCH),
            ("fra", FRENCH),
            ("fr_CA", FRENCH),
            ("french", FRENCH),
            ("Français", FRENCH),
        ],
    ],
)
def test_by_number_language_or_default(wanted: str, found: Track) -> None:
    assert choose_track(TRACKS, wanted, "talk.mkv") is found


def test_languages_of_three_letters_are_those_of_two() -> None:
    pairs = {"de": "ger", "el": "gre", "zh": "chi", "no": "nob", "fa": "per", "cs": "cze", "my": "bur", "jv": "jav"}
    for two, three in pairs.items():
        assert choose_track([Track(1, three)], two, "talk.mkv").number == 1
    # Irish, which Whisper does not know.
    assert choose_track([Track(1, "eng"), Track(2, "gle")], "GLE", "talk.mkv").number == 2


def test_without_a_default_the_first() -> None:
    assert choose_track([FRENCH, COMMENTARY], "", "talk.mkv") is FRENCH


@pytest.mark.parametrize("wanted", ["4", "0", "de", "x"])
def test_one_that_is_not_there_is_refused_and_those_that_are_listed(wanted: str) -> None:
    with pytest.raises(AudioFormatError) as error:
        choose_track(TRACKS, wanted, "talk.mkv")
    assert str(error.value) == (
        f"talk.mkv: there is no audio track {wanted!r}; it has 1 (fra), 2 (eng, default), 3 (eng, 'Commentary')"
    )


def test_a_track_that_says_nothing_has_no_language() -> None:
    with pytest.raises(AudioFormatError, match=r"it has 1$"):
        choose_track([Track(1)], "en", "talk.mkv")
