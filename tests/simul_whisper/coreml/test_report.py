"""The demo that Mac users run, with the reference runtime in Apple's place."""

import importlib.util
from pathlib import Path

import pytest
import soundfile

from simul_whisper.coreml.reference import REFERENCE
from tests.conftest import Recording

DEMO = Path(__file__).parents[3] / "demos" / "coreml_report.py"


def test_the_report_has_a_row_for_each_choice_of_units(
    tmp_path: Path, package: Path, captions: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("coreml_report", DEMO)
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    monkeypatch.setattr("simul_whisper.coreml.locate.cache_home", lambda: tmp_path / "cache")
    monkeypatch.setattr(demo, "UNITS", ("CPU_AND_NE", "CPU_ONLY"))
    # NumPy takes as long as that lasts; words begin in the first second.
    soundfile.write(tmp_path / "speech.wav", captions.samples[: 3 * 16_000], 16_000)
    rows = [
        line.strip("| ").split(" | ")
        for line in demo.table("tiny.en", str(package), tmp_path / "speech.wav", REFERENCE)
    ]
    assert rows[2][0] == "MLX"
    assert rows[3][:2] == ["CPU_AND_NE", "ANE not supported"]
    units, first_s, load_s, encoding_ms, psnr_db, equal = rows[4]
    assert (units, equal) == ("CPU_ONLY", "100 %")
    assert min(float(first_s), float(load_s), float(encoding_ms)) > 0
    assert float(psnr_db) >= 60
