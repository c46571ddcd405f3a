"""Names of the files that a folder gets."""

from contextlib import ExitStack
from pathlib import Path

import pytest

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
