"""The unit of systemd, read by systemd, and what the server really does that it must be allowed to."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.conftest import RECORDINGS
from tests.deploy.files import UNIT, unit
from tests.foreign_servers import PATIENCE_S, free_port

# Of 0 to 10, and in tenths: how much of the system a service can reach.
MOST_EXPOSURE = 20


def analyzed(*arguments: str) -> "subprocess.CompletedProcess[str]":
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_systemd_can_read_it(tmp_path: Path) -> None:
    # The program is where the documentation has it installed, which is not here.
    text = UNIT.read_text("utf-8").replace("/opt/simul-whisper/bin/simul-whisper", sys.executable)
    (tmp_path / UNIT.name).write_text(text, "utf-8")
    read = analyzed("verify", "--man=no", f"{tmp_path / UNIT.name}")
    assert (read.returncode, read.stderr) == (0, "")


def test_little_is_left_to_reach() -> None:
    exposed = analyzed("security", "--offline=yes", f"--threshold={MOST_EXPOSURE}", "--no-pager", f"{UNIT}")
    assert exposed.returncode == 0, exposed.stdout


def calls_of(group: str) -> set[str]:
    """The system calls of a group of systemd's, such as @system-service."""
    lines = [line.strip() for line in analyzed("syscall-filter", group).stdout.splitlines()]
    names = [line for line in lines if line and not line.startswith("#") and line != group]
    return {call for name in names for call in (calls_of(name) if name.startswith("@") else [name])}


@pytest.mark.long
def test_the_server_calls_nothing_that_is_forbidden(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    traced = trace_of_a_session(tmp_path)
    calls = set(re.findall(r"^\d+ +(\w+)\(", traced, re.MULTILINE))
    assert calls - calls_of(unit()["SystemCallFilter"]) == set()
    assert set(re.findall(r"socket\((AF_\w+)", traced)) <= set(unit()["RestrictAddressFamilies"].split())
    # The day that it does not, the unit can forbid it.
    assert re.search(r"(mmap|mprotect)\(.*PROT_WRITE\|PROT_EXEC", traced)
    assert unit()["MemoryDenyWriteExecute"] == "no"


def trace_of_a_session(folder: Path) -> str:
    """Run a server that is traced, and speak with it; return what it has asked of the system."""
    port, trace = free_port(), folder / "trace"
    program = [sys.executable, "-m", "streaming.cli"]
    serve = [*program, "serve", "--model", "tiny.en", "--port", f"{port}"]
    with subprocess.Popen(["strace", "-f", "-qq", "-o", f"{trace}", *serve], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_ready(port)
            said = [*program, "connect", f"ws://127.0.0.1:{port}", f"{RECORDINGS / 'captions.flac'}"]
            subprocess.run(said, check=True, capture_output=True)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            subprocess.run(["kill", "-TERM", *children], check=True)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.send_signal(signal.SIGKILL)
    return trace.read_text("utf-8", "replace")


def wait_until_ready(port: int) -> None:
    until = time.monotonic() + 4 * PATIENCE_S
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/health").close()
            return
        except URLError:
            assert time.monotonic() < until
            time.sleep(0.1)
