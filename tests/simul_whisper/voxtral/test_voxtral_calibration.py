"""Which heads tell where a Voxtral reads is found from recordings alone, and kept beside the weights."""

import json
import sys
from pathlib import Path

import pytest
import soundfile

from scripts import calibrate_voxtral
from scripts.fixture_voxtral.training import SHOWN_HEAD, SHOWN_LAYER
from simul_whisper import SAMPLE_RATE, WeightsError
from simul_whisper.voxtral.heads import FILE, Measured, known_heads, write_heads
from tests.fixture_voxtral import DIRECTORY, held_out, without_heads
from tests.voxtral_files import DIMS

SHOWN = (SHOWN_LAYER, SHOWN_HEAD)


def test_the_head_that_was_shown_where_to_look_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    soundfile.write(tmp_path / "speech.wav", held_out(20, n=4).samples, SAMPLE_RATE)
    monkeypatch.setattr(sys, "argv", ["", str(without_heads(directory)), f"en={tmp_path / 'speech.wav'}"])
    calibrate_voxtral.main()
    written = json.loads((directory / FILE).read_text("utf-8"))
    assert written["alignment_heads"][0] == [*SHOWN]
    assert written["measured"]["right"] > 0.8
    assert written["measured"]["agreement"] > 0.9
    assert str(directory / FILE) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("directory", "recording", "said"),
    [
        ("no-model", "en=FILE", "no-model: this is no Voxtral model; expected"),
        (str(DIRECTORY), "en=missing.wav", "missing.wav: No such file"),
        (str(DIRECTORY), "ja=FILE", "Voxtral does not know Japanese (ja)"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    directory: str,
    recording: str,
    said: str,
) -> None:
    file = tmp_path / "speech.wav"
    soundfile.write(file, held_out(20, n=1).samples, SAMPLE_RATE)
    monkeypatch.setattr(sys, "argv", ["calibrate", directory, recording.replace("FILE", str(file))])
    with pytest.raises(SystemExit, match="2"):
        calibrate_voxtral.main()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"calibrate: {said}")


def test_the_heads_of_the_fixture_were_found_so() -> None:
    assert json.loads((DIRECTORY / FILE).read_text("utf-8"))["alignment_heads"] == [[*SHOWN]]


def test_heads_are_read_from_beside_the_weights_unless_others_are_given(tmp_path: Path) -> None:
    assert known_heads(tmp_path, DIMS, ()) == ()
    write_heads(tmp_path, Measured(((1, 2), (0, 3)), 0.9, 0.9, 0.9, 1, 10.0))
    assert known_heads(tmp_path, DIMS, ()) == ((1, 2), (0, 3))
    assert known_heads(tmp_path, DIMS, [(2, 0)]) == ((2, 0),)


@pytest.mark.parametrize("content", ["{", "[]", '{"alignment_heads": 1}', '{"alignment_heads": [[0, 0], [0, 0]]}'])
def test_a_damaged_file_of_heads_is_refused_by_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content, "utf-8")
    with pytest.raises(WeightsError, match=FILE):
        known_heads(tmp_path, DIMS, ())


def test_heads_that_are_seldom_right_are_not_believed() -> None:
    assert not Measured(((0, 0),), 0.69, 1.0, 1.0, 1, 10.0).is_believed
