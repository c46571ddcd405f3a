"""Standard output that is full, closed or has few letters, in a process of its own."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from streaming.output.standard_output import checked_output

PROGRAM = (
    "import ast, sys\n"
    "from streaming.output.durable import OutputError\n"
    "from streaming.output.standard_output import checked_output\n"
    "try:\n"
    "    with checked_output():\n"
    "        for line in sys.argv[1:]:\n"
    "            print(ast.literal_eval(line))\n"
    "except OutputError as error:\n"
    "    print('refused:', error, file=sys.stderr)\n"
    "except BrokenPipeError:\n"
    "    print('nobody reads', file=sys.stderr)\n"
)
# Where Python itself does not take the C locale for UTF-8.
PLAIN_C = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def ran(
    redirection: str, *lines: str, stdout: int = subprocess.PIPE, environment: Mapping[str, str] = MappingProxyType({})
) -> tuple[bytes, bytes]:
    """Let the program print the lines; return what comes out, and what it complains of."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-c", PROGRAM, *map(ascii, lines)],
        env={**others, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("n_lines", [1, 5000])
@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        ("> /dev/full", b"refused: standard output: cannot be written: No space left on device\n"),
        (">&-", b"refused: standard output is closed; nothing can be written\n"),
    ],
)
def test_it_is_told_once_and_without_a_traceback(redirection: str, said: bytes, n_lines: int) -> None:
    assert ran(redirection, *["x" * 20] * n_lines)[1] == said


@pytest.mark.parametrize("n_lines", [1, 5000])
def test_a_pipe_that_nobody_reads_is_told_as_that(n_lines: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert ran("", *["x" * 20] * n_lines, stdout=writing)[1] == b"nobody reads\n"
    os.close(writing)


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
def test_who_writes_nothing_is_not_refused(redirection: str) -> None:
    assert ran(redirection)[1] == b""


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, PLAIN_C, {"LC_ALL": "C.UTF-8"}])
def test_it_is_utf8_where_only_the_locale_says_ascii(environment: Mapping[str, str]) -> None:
    assert ran("", "déjà 潮", environment=environment) == ("déjà 潮\n".encode(), b"")


def test_letters_that_are_lacking_are_replaced_and_told_once() -> None:
    out, err = ran("", "déjà", "潮水", "plain", environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"})
    assert out == b"d?j?\n??\nplain\n"
    (line,) = err.splitlines()
    assert line.startswith(b"simul-whisper: standard output is ascii")
    assert ran("", "déjà", environment={"PYTHONIOENCODING": "latin-1"})[0] == "déjà\n".encode("latin-1")


def test_what_a_program_has_put_in_its_place_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    with checked_output():
        sys.stdout.write("here")
    assert sys.stdout is mine
    assert mine.getvalue() == "here"
