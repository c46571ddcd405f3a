"""What is opened, how much is read, and how it is quoted."""

import os
from pathlib import Path

import pytest

from simul_whisper.foreign_files import is_plain_path, one_line, open_regular, parse_json, read_bytes, shown


def test_only_regular_files_of_a_bounded_size_are_opened(tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"12345")
    os.mkfifo(pipe)
    assert read_bytes(file, 5) == b"12345"
    with pytest.raises(ValueError, match="got 5 bytes, expected at most 4"):
        read_bytes(file, 4)
    for path in (pipe, Path(os.devnull)):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(OSError, match=path.name):
            open_regular(path)


def test_what_is_opened_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/dev/fd").iterdir()))
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "file"):
        with pytest.raises((OSError, ValueError)):
            open_regular(path, most_bytes=-1)
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize("text", ["", "[" * 100_000, "9" * 5000, b"\xff", "{'a': 1}"])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text)


@pytest.mark.parametrize(
    ("path", "most_parts", "expected"),
    [
        ("a.safetensors", 1, True),
        ("weights/weight.bin", 2, True),
        ("weights/weight.bin", 1, False),
        *(
            (path, 8, False)
            for path in ("", "/a", "x" * 256, "a//b", "../a", "a/../b", "./a", "a/", "a\nb", "a\0", "\ud800")
        ),
    ],
)
def test_a_plain_path_stays_where_it_is_looked_for(path: str, most_parts: int, expected: bool) -> None:
    assert is_plain_path(path, most_parts) is expected


def test_what_is_quoted_is_one_short_line() -> None:
    laughs: object = "ha"
    for _ in range(100):
        laughs = [laughs] * 10
    for value in (laughs, "x" * 10**6, "a\nb\x1b[31m", "\ud800", {"a" * 999: "b" * 999}):
        for quoted in (shown(value), one_line(value if isinstance(value, str) else "")):
            assert len(quoted) <= 123
            assert quoted == "" or quoted.isprintable()
    assert shown("whisper") == "'whisper'"
    assert one_line(ValueError("wrong")) == "wrong"
