"""Commands stream with a Voxtral model as with any other."""

from pathlib import Path

import pytest
import soundfile

from simul_whisper import SAMPLE_RATE
from streaming.cli import main
from tests.fixture_voxtral import DIRECTORY, held_out


def test_a_file_is_transcribed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech = held_out(10, n=6, spoken="de")
    soundfile.write(tmp_path / "speech.wav", speech.samples, SAMPLE_RATE)
    assert main(["transcribe", str(tmp_path / "speech.wav"), "--model", str(DIRECTORY), "--no-vad"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == speech.text
    assert "AlignAtt over 1 head" in err


@pytest.mark.parametrize("flags", [["--task", "translate"], ["--to", "en"], ["--decoder-backend", "coreml"]])
def test_what_it_cannot_do_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    soundfile.write(tmp_path / "speech.wav", held_out(10, n=1).samples, SAMPLE_RATE)
    assert main(["transcribe", str(tmp_path / "speech.wav"), "--model", str(DIRECTORY), *flags]) == 2
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("simul-whisper: ")][1:] == []
