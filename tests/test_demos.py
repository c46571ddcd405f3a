"""The demos: short, on the public API, and true."""

import ast
import runpy
import shutil
from pathlib import Path

import pytest

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
    assert lines[2].startswith("Words appear on the screen")
