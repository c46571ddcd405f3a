"""Files that are whole at any moment: after kill -9, and when the disk is full."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simul_whisper import ConfigError
from streaming.output.durable import DurableText, OutputError


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files cannot grow beyond 4096 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_nothing_is_written_before_it_is_flushed(tmp_path: Path) -> None:
    file = DurableText(tmp_path / "out.txt")
    file.write("wörds\n")
    assert (tmp_path / "out.txt").read_text("utf-8") == ""
    file.flush()
    assert (tmp_path / "out.txt").read_text("utf-8") == "wörds\n"
    file.close()


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_leaves_whole_lines_and_loses_none(tmp_path: Path) -> None:
    path, line = tmp_path / "out.txt", "x" * 1499 + "\n"
    file = DurableText(path)
    for _ in range(2):
        file.write(line)
        file.flush()
    for _ in range(2):
        file.write(line)
        with pytest.raises(OutputError, match=r"out\.txt"):
            file.flush()
        assert path.read_text() == 2 * line
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    file.flush()
    assert path.read_text() == 4 * line
    file.close()


def test_a_tail_stands_at_the_end_until_more_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.ttml"
    file = DurableText(path)
    for text, tail in (("<a>", "</a>"), ("one", "</a>"), ("", "</a>"), ("</a>", "")):
        file.write(text)
        file.flush(tail)
        assert path.read_text().startswith("<a>")
        assert path.read_text().endswith("</a>")
    assert path.read_text() == "<a>one</a>"
    file.close()


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_leaves_the_tail(tmp_path: Path) -> None:
    path = tmp_path / "out.ttml"
    file = DurableText(path)
    file.write("<a>")
    file.flush("</a>")
    file.write("x" * 5000)
    with pytest.raises(OutputError):
        file.flush("</a>")
    assert path.read_text() == "<a></a>"
    file.close()


def test_what_cannot_be_taken_back_gets_no_tail(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file = DurableText(pipe)
    file.write("one")
    file.flush("</a>")
    file.close()
    assert os.read(reading, 100) == b"one"
    os.close(reading)


def test_a_device_that_is_full_is_an_error_too() -> None:
    file = DurableText("/dev/full")
    file.write("words")
    with pytest.raises(OutputError, match="/dev/full"):
        file.flush()
    file.close()


def test_a_file_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ConfigError, match="/no/such/folder"):
        DurableText("/no/such/folder/out.txt")


def test_what_was_flushed_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom streaming.output.durable import DurableText\n"
        "file = DurableText(sys.argv[1])\nfile.write('one\\n')\nfile.flush()\nfile.write('two\\n')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "out.txt"
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "one\n"
