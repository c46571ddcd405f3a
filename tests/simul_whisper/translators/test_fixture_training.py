"""The script that trains the fixture, for a few steps."""

import sys
from pathlib import Path

import pytest

from scripts.fixture_translator import language
from scripts.fixture_translator.__main__ import main
from simul_whisper import TranslationConfig, open_translator
from tests.fixture_translator import DIRECTORY, fixture_sentence, held_out


def test_it_writes_a_translator_and_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fixture_translator", str(tmp_path), "--steps", "12"])
    main()
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < losses[0]
    measured = {"alignment.json"}
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in DIRECTORY.iterdir()} - measured
    translator = open_translator(TranslationConfig(model=str(tmp_path)))
    translator.check_pair(language.SOURCE, language.TARGET)
    translator.translate(fixture_sentence(held_out(1)[0]))
