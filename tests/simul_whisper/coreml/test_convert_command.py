"""Where `coreml convert` puts its packages, and what it calls them; and the script that whisper.cpp's users know."""

from pathlib import Path
from typing import get_args

import pytest

from simul_whisper.coreml.description import describe
from simul_whisper.coreml.locate import PartName, local_packages
from streaming.cli import main
from tests.simul_whisper.coreml.test_package import SCRIPT
from tests.simul_whisper.coreml.wrapping import run_script
from tests.simul_whisper.weights.build import random_tensors, write_huggingface, write_mlx


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix == ".mlpackage")


def test_packages_have_the_name_that_they_were_given_and_are_found_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "whisper-german-q4"
    directory = write_huggingface(tmp_path / "checkpoint-4000", random_tensors())
    assert main(["coreml", "convert", str(directory), "--name", name, "--part", "all", "--target", "macOS15"]) == 0
    assert names_in(tmp_path / "models") == [f"ggml-{name}-decoder.mlpackage", f"ggml-{name}-encoder.mlpackage"]
    for part in get_args(PartName)[:2]:
        assert local_packages([str(directory), name], part=part) == [tmp_path / f"models/ggml-{name}-{part}.mlpackage"]


@pytest.mark.parametrize("name", ["", "../outside", "a/b", "/tmp/x", "two\nlines", "x" * 250])
def test_a_name_that_would_leave_the_folder_is_refused_before_anything_is_done(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "models"
    assert main(["coreml", "convert", "no-such-model", "--output", str(output), "--name", name]) == 2
    assert not output.exists()
    err = capsys.readouterr().err
    assert err.startswith("simul-whisper: got name = ")
    assert len(err.strip().splitlines()) == 1


def test_a_package_beside_the_weights_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = write_mlx(tmp_path / "mine", random_tensors())
    assert main(["coreml", "convert", "mine", "--beside-weights", "--name", "other"]) == 0
    [package] = local_packages(["whatever"], directory)
    assert package == directory / "ggml-other-encoder.mlpackage"
    assert describe(package).metadata["model"] == "mine"
    assert not Path("models").exists()
    # The directory is a model's as it was before.
    assert main(["coreml", "convert", "mine", "--beside-weights"]) == 0
    assert names_in(directory) == ["ggml-mine-encoder.mlpackage", "ggml-other-encoder.mlpackage"]


@pytest.mark.parametrize("model", ["tiny.en", "openai/whisper-small", "site-packages/model", "./missing"])
def test_nothing_is_put_into_installed_packages_and_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_mlx(tmp_path / "site-packages" / "model", random_tensors())
    assert main(["coreml", "convert", model, "--beside-weights"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"simul-whisper: {model}: expected a directory of your own")
    assert names_in(tmp_path / "site-packages" / "model") == []


def test_a_voices_vocoder_is_put_beside_it_or_where_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    from tests.voice_files import save_voice, voice_model

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    save_voice(tmp_path / "mine" / "anna.onnx", voice_model())
    command = ["coreml", "convert", "mine/anna.onnx", "--part", "vocoder"]
    assert main([*command, "--beside-weights"]) == 0
    assert names_in(tmp_path / "mine") == ["ggml-anna-vocoder.mlpackage"]
    assert main([*command, "--name", "other", "--target", "macOS14", "--compute-precision", "float32"]) == 0
    assert names_in(tmp_path / "models") == ["ggml-other-vocoder.mlpackage"]
    assert "converted in" in capsys.readouterr().err
    for wrong, said in (
        (["--quantize", "int8"], "do not concern a vocoder"),
        (["--alignment-heads", "[[0, 0]]"], "leave them out for a vocoder"),
    ):
        assert main([*command, *wrong]) == 2
        assert said in capsys.readouterr().err
    assert main(["coreml", "convert", "base", "--part", "vocoder"]) == 2
    assert "base: no such Piper voice; expected the .onnx file of one" in capsys.readouterr().err


def test_there_is_one_place_for_a_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["coreml", "convert", "mine", "--beside-weights", "--output", "models"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["base.en", "--fixed-length"], "coreml convert base.en --fixed-length"),
        (["-h5", "small-german", "mine/checkpoint"], "coreml convert mine/checkpoint --name small-german"),
        (["-h5", "x", "owner/y", "--quantize", "int8"], "coreml convert owner/y --name x --quantize int8"),
    ],
)
def test_the_script_takes_models_and_those_that_were_trained_further(
    tmp_path: Path, arguments: list[str], command: str
) -> None:
    done = run_script(SCRIPT, tmp_path, *arguments)
    assert (done.returncode, done.stdout.split()) == (0, command.split())


@pytest.mark.parametrize("arguments", [[], ["-h5"], ["-h5", "name"], ["-h5", "name", "--fixed-length"]])
def test_the_script_says_what_is_missing_and_how_it_is_used(tmp_path: Path, arguments: list[str]) -> None:
    done = run_script(SCRIPT, tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    reason, usage = done.stderr.splitlines()
    assert ("NAME" if arguments else "MODEL") in reason
    assert "-h5 NAME PATH [FLAGS]" in usage
