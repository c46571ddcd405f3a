"""`simul-whisper voices`."""

from pathlib import Path

import pytest

from streaming.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMUL_WHISPER_CACHE", str(tmp_path))


def test_it_lists_voices_with_their_languages_and_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["voices"]) == 0
    rows = {row.split()[1]: row for row in capsys.readouterr().out.splitlines()}
    assert {"joe", "kokoro"} <= rows.keys()
    assert "CC0-1.0" in rows["joe"]
    assert "en es" in rows["kokoro"]
    assert "Apache-2.0" in rows["kokoro"]


def test_what_cannot_be_fetched_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["voices", "--fetch", "joe"]) == 2
    assert "got 'joe', expected kokoro" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
