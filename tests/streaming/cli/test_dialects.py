"""Where `serve` speaks dialects: at ports, at Unix sockets, and over its own stdin and stdout."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.audio.files import read_audio
from streaming.cli import main
from streaming.server.run import bound_unix_socket
from tests.streaming.serving import PATIENCE_S, s16

ROOT = Path(__file__).parents[3]
CAPTIONS = ROOT / "demos" / "recordings" / "captions.flac"


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


SPOKEN = words_of(CAPTIONS.with_suffix(".txt").read_text("utf-8"))


def test_lines_at_a_unix_socket_and_over_stdin_and_stdout(tmp_path: Path) -> None:
    path, recording = tmp_path / "lines.sock", tmp_path / "recording"
    bound_unix_socket(str(path)).close()
    audio = s16(read_audio(str(CAPTIONS)))
    recording.write_bytes(audio)
    pipe = subprocess.PIPE
    serve = [sys.executable, "-m", "streaming.cli", "serve", "--port", "0", "--model", "tiny.en", "--padding-len", "1"]
    places = f"lines=unix://{path},lines-json=stdio://"
    with subprocess.Popen(
        [*serve, "--dialects", places], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdin
        assert process.stderr
        assert any("ready" in line for line in process.stderr)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
            connection.sendall(audio)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile(encoding="utf-8") as lines:
                assert words_of("".join(line.split(" ", 2)[2] for line in lines)) == SPOKEN
        process.stdin.close()
        process.stdin = None
        said, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, said, errors) == (0, "", "")
    assert not path.exists()
    with recording.open("rb") as file:
        ran = subprocess.run(
            [*serve, "--dialects", "lines=stdio://"],
            cwd=ROOT,
            stdin=file,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert words_of("".join(line.split(" ", 2)[2] for line in ran.stdout.splitlines())) == SPOKEN


@pytest.mark.parametrize(
    ("dialects", "said"),
    [
        ("klingon", "expected all, none, or some of"),
        ("lines=many", "expected a port"),
        ("lines=unix://", "unix://PATH"),
        ("lines=-1", "expected a port"),
        ("simulstream=stdio://", "which are for wyoming, lines, lines-json"),
        ("lines=stdio://,wyoming=stdio://", "there is one stdin"),
    ],
)
def test_a_place_that_cannot_be_is_refused(dialects: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "--dialects", dialects])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
