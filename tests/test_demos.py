"""The demos: short, on the public API, and true."""

import ast
import re
import runpy
import shutil
import threading
from pathlib import Path

import pytest
import soundfile

from scripts.tcp_relay import relay_to
from simul_whisper import SAMPLE_RATE
from tests.streaming.serving import s16, serving
from tests.tones import random_words, speech_of

DEMOS = Path(__file__).parent.parent / "demos"


@pytest.mark.parametrize("path", sorted(DEMOS.glob("*.py")), ids=lambda path: path.stem)
def test_a_demo_is_short_and_says_how_it_is_run(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < 100
    assert f"python demos/{path.name}" in (ast.get_docstring(ast.parse(text)) or "")
    assert "simul_whisper." not in text.replace("from simul_whisper.coreml", "")


def test_subtitles_are_written_beside_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = tmp_path / "talk.flac"
    shutil.copy(DEMOS / "recordings" / "captions.flac", recording)
    monkeypatch.setattr("sys.argv", ["subtitles.py", str(recording)])
    runpy.run_path(str(DEMOS / "subtitles.py"), run_name="__main__")
    lines = recording.with_suffix(".srt").read_text("utf-8").splitlines()
    assert lines[0] == "1"
    assert " --> " in lines[1]
    assert "appear on the screen" in lines[2]


SPEECH = speech_of(random_words(8, 1))


def stream(url: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["websocket_client.py", url, source])
    runpy.run_path(str(DEMOS / "websocket_client.py"), run_name="__main__")


def test_a_client_prints_words_over_a_connection_that_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "speech.flac", SPEECH.samples, SAMPLE_RATE)
    with serving() as served, relay_to(served.port) as line:

        def cut() -> None:
            served.wait_for(lambda: served.count("words_total"))
            line.pull()

        cutting = threading.Thread(target=cut)
        cutting.start()
        stream(f"ws://127.0.0.1:{line.port}", str(tmp_path / "speech.flac"), monkeypatch)
        cutting.join()
    text, n_notices = re.subn(r"\n\[connected again, from [\d.]+ s]\n", "", capsys.readouterr().out)
    assert (text, n_notices) == (SPEECH.text, 1)


def test_a_client_streams_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speech.raw").write_bytes(s16(SPEECH.samples))
    with serving() as served, (tmp_path / "speech.raw").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        stream(served.url, "-", monkeypatch)
    assert capsys.readouterr().out == SPEECH.text
