"""Names of the files that a folder gets."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from simul_whisper import ConfigError
from streaming.cli.output_files import destinations, file_names


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a/talk.mp3"], ["talk.srt"]),
        (["a/talk.mp3", "b/talk.wav", "c/Talk.ogg"], ["talk.srt", "talk-2.srt", "Talk-3.srt"]),
        (["talk-2.mp3", "talk.wav", "talk.ogg"], ["talk-2.srt", "talk.srt", "talk-3.srt"]),
        (["v1.2 final.mp4", ".hidden"], ["v1.2 final.srt", ".hidden.srt"]),
        (["-", "https://host/a%20b/c%20d.mp3?x=1", "http://host/"], ["stdin.srt", "c d.srt", "host.srt"]),
    ],
)
def test_a_file_is_called_as_its_source_and_none_as_another(sources: list[str], expected: list[str]) -> None:
    assert file_names(sources, ".srt") == expected


def test_a_file_is_made_with_the_first_text_even_if_that_is_empty(tmp_path: Path) -> None:
    with ExitStack() as files:
        first, second = destinations(files, str(tmp_path), "vtt", ["a.wav", "b.wav"])
        assert not list(tmp_path.iterdir())
        second.write("")
        assert [path.name for path in tmp_path.iterdir()] == ["b.vtt"]
        first.write("x")
        assert (tmp_path / "a.vtt").read_text() == "x"
        assert not first.is_shared


def test_texts_of_several_files_go_one_after_the_other(tmp_path: Path) -> None:
    with ExitStack() as files:
        first, second = destinations(files, str(tmp_path / "all.txt"), "text", ["a.wav", "b.wav"])
        first.write("a")
        second.write("b")
        assert first.is_shared
    assert (tmp_path / "all.txt").read_text() == "ab"


def test_captions_of_each_language_have_a_file_beside_the_transcripts(tmp_path: Path) -> None:
    with ExitStack() as files:
        [place] = destinations(files, str(tmp_path / "talk.srt"), "srt", ["a.wav"], targets=["es", "de"])
        place.write("en")
        place.labelled("es").write("es")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "talk.srt": "en",
        "talk.es.srt": "es",
        "talk.de.srt": "",
    }


@pytest.mark.parametrize("output", ["", "talk.srt"])
def test_of_channels_each_has_its_languages(output: str, tmp_path: Path) -> None:
    with ExitStack() as files:
        [place] = destinations(files, str(tmp_path / output), "srt", ["talk.wav"], by_channel=True, targets=["es"])
        place.labelled("left").labelled("").write("en")
        place.labelled("left").labelled("es").write("es")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "talk.left.srt": "en",
        "talk.left.es.srt": "es",
    }


def test_a_translation_is_called_as_no_other_recording(tmp_path: Path) -> None:
    sources = ["talk.mp3", "talk.ES.mp3", "talk.de.mp3"]
    with ExitStack() as files:
        places = destinations(files, str(tmp_path), "srt", sources, targets=["es"])
        for source, place in zip(sources, places, strict=True):
            place.write(source)
            place.labelled("es").write(source)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "talk.srt": "talk.mp3",
        "talk.es.srt": "talk.mp3",
        "talk.ES-2.srt": "talk.ES.mp3",
        "talk.ES-2.es.srt": "talk.ES.mp3",
        "talk.de.srt": "talk.de.mp3",
        "talk.de.es.srt": "talk.de.mp3",
    }


def test_text_of_all_languages_goes_into_one_file(tmp_path: Path) -> None:
    with ExitStack() as files:
        [place] = destinations(files, str(tmp_path / "talk.txt"), "text", ["a.wav"], targets=["es"])
        place.write("all")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.txt"]


@pytest.mark.parametrize("name", ["srt", "vtt", "ttml"])
def test_captions_of_several_languages_on_standard_output_are_refused(name: str) -> None:
    with ExitStack() as files, pytest.raises(ConfigError, match=f"give --output FILE, such as talk.{name}"):
        destinations(files, None, name, ["a.wav"], targets=["es"])
