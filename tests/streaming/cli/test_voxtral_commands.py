"""Commands stream with a Voxtral model as with any other."""

import subprocess
import sys
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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task", "translate"], "Voxtral transcribes under the policy and does not translate"),
        (["--to", "en"], "this model writes no English translation"),
        (["--language", "ja"], "Voxtral does not know Japanese (ja)"),
        (["--init-prompt", "A talk."], "got init_prompt, but this model is shown no text"),
        (["--decoder-backend", "coreml"], "got decoder_backend = coreml, but Voxtral's language model runs in MLX"),
        (["--backend", "ctranslate2"], "a Voxtral model has no encoder in ctranslate2"),
    ],
)
def test_what_it_cannot_do_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    soundfile.write(tmp_path / "speech.wav", held_out(10, n=1).samples, SAMPLE_RATE)
    assert main(["transcribe", str(tmp_path / "speech.wav"), "--model", str(DIRECTORY), *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith(f"simul-whisper: {said}")


@pytest.mark.parametrize(
    ("package", "command", "said"),
    [
        ("tiktoken", ["transcribe", "FILE"], "Voxtral cannot be used: "),
        ("tiktoken", ["ask", "FILE", "What was said?"], "Voxtral cannot be used: "),
        ("mlx", ["transcribe", "FILE"], "MLX cannot be used: "),
        ("prometheus_client", ["transcribe", "FILE", "--to", "de"], "translation, speech and servers need prometheus"),
        ("prometheus_client", ["serve", "--port", "0"], "translation, speech and servers need prometheus"),
    ],
)
def test_without_a_package_it_is_one_line_that_says_what_to_install(
    tmp_path: Path, package: str, command: list[str], said: str
) -> None:
    soundfile.write(tmp_path / "speech.wav", held_out(10, n=1).samples, SAMPLE_RATE)
    given = [str(tmp_path / "speech.wav") if each == "FILE" else each for each in command]
    program = (
        f"import sys; sys.modules['{package}'] = None\nfrom streaming.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *given, "--model", str(DIRECTORY)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"simul-whisper: {said}")
    assert "pip install" in line
