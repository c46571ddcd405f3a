"""`coreml convert`, `info` and `verify` of a Voxtral model, and the script that wraps the first."""

import logging
from pathlib import Path

import pytest

from simul_whisper.blas import mx
from streaming.cli import main
from tests import voxtral_files
from tests.simul_whisper.coreml.wrapping import run_script

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

SCRIPT = Path(__file__).parents[3] / "scripts" / "convert_voxtral.sh"
TENSORS = voxtral_files.random_tensors()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return voxtral_files.write_huggingface(tmp_path / "hearing", TENSORS)


def test_a_voxtral_is_seen_and_its_package_described_and_verified(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["coreml", "convert", "hearing"]) == 0
    out, err = capsys.readouterr()
    package = Path("models/ggml-hearing-encoder-projector.mlpackage")
    assert out.splitlines()[0] == str(package)
    assert f"{package.name}: converted in" in err
    assert main(["coreml", "info", str(package), "--no-plan"]) == 0
    said = capsys.readouterr().out
    assert "input     logmel_data: float32 (1, 128, 3000)\noutput    output: float32 (1, 375, 64)\n" in said
    assert "products  float16" in said
    assert main(["coreml", "verify", str(package), "--model-path", str(model)]) == 0
    said = capsys.readouterr().out
    assert "encoder-projector.mlpackage, encoder+projector, float16" in said
    assert "verdict   passed: expected at least 60 dB of float16" in said
    assert "text " not in said


def test_a_package_of_another_voxtral_fails_to_be_verified(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voxtral_files.write_huggingface(tmp_path / "other", voxtral_files.random_tensors(seed=1))
    assert main(["coreml", "convert", "hearing", "--part", "encoder", "--shapes", "fixed"]) == 0
    command = ["coreml", "verify", "models/ggml-hearing-encoder.mlpackage", "--model-path"]
    assert main([*command, str(model)]) == 0
    assert main([*command, "other"]) == 1
    assert "verdict   FAILED" in capsys.readouterr().out


def test_beside_the_weights_it_is_one_of_the_models_files(model: Path) -> None:
    assert main(["coreml", "convert", "hearing", "--beside-weights"]) == 0
    assert (model / "ggml-hearing-encoder-projector.mlpackage").exists()
    assert main(["coreml", "convert", "hearing"]) == 0


def test_the_encoder_s_weights_are_extracted_and_nothing_else(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coreml", "convert", str(model), "--extract", "encoder.safetensors"]) == 0
    out, err = capsys.readouterr()
    assert out == "encoder.safetensors\n"
    assert "encoder.safetensors: 0.3 MB" in err
    found = mx.load("encoder.safetensors")
    assert isinstance(found, dict)
    assert {name.split(".")[0] for name in found} == {"audio_tower"}
    assert not Path("models").exists()
    for arguments, said in (
        (["tiny.en"], "tiny.en: this is no Voxtral model; --extract is for these"),
        (["hearing", "--part", "decoder"], "its language model runs in MLX"),
        (["missing/model/here"], "no such directory"),
        (["hearing", "--quantize", "int8"], "--extract writes weights as they are"),
        (["hearing", "--name", "other"], "--extract writes weights as they are"),
    ):
        assert main(["coreml", "convert", *arguments, "--extract", "other.safetensors"]) == 2
        [line] = capsys.readouterr().err.strip().splitlines()
        assert said in line
    assert not Path("other.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--model-path", "a b", "--output", "out"], ["coreml", "convert", "a b", "--output", "out"]),
        (["--output", "out", "--model-path", "x"], ["coreml", "convert", "x", "--output", "out"]),
        (
            ["--model-path", "x", "--part", "encoder", "--extract", "file"],
            ["coreml", "convert", "x", "--part", "encoder", "--extract", "file"],
        ),
    ],
)
def test_the_script_is_the_command(tmp_path: Path, arguments: list[str], command: list[str]) -> None:
    done = run_script(SCRIPT, tmp_path, *arguments)
    assert (done.returncode, done.stdout.splitlines()) == (0, command)


@pytest.mark.parametrize("arguments", [[], ["--output", "out"], ["--model-path"], ["--model-path", "--output"]])
def test_the_script_says_how_it_is_used(tmp_path: Path, arguments: list[str]) -> None:
    done = run_script(SCRIPT, tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--model-path" in done.stderr.splitlines()[0]
    assert "usage: " in done.stderr
