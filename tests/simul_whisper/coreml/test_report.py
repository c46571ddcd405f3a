"""The demo that Mac users run, with the reference runtime in Apple's place."""

import importlib.util
from pathlib import Path

import pytest
import soundfile

from simul_whisper.coreml.reference import REFERENCE
from tests.conftest import Recording

DEMO = Path(__file__).parents[3] / "demos" / "coreml_report.py"


def test_the_report_has_a_row_for_each_pipeline_and_choice_of_units(
    tmp_path: Path, package: Path, decoder: Path, captions: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("coreml_report", DEMO)
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    monkeypatch.setattr("simul_whisper.coreml.locate.cache_home", lambda: tmp_path / "cache")
    monkeypatch.setattr(demo, "UNITS", ("CPU_AND_NE", "CPU_ONLY"))
    # NumPy takes as long as that lasts; words begin in the first second.
    soundfile.write(tmp_path / "speech.wav", captions.samples[: 2 * 16_000], 16_000)
    lines = demo.table("tiny.en", str(package), str(decoder), tmp_path / "speech.wav", REFERENCE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in rows}) == 1
    assert [row[:2] for row in rows[2:]] == [
        ["MLX", ""],
        ["hybrid", "CPU_AND_NE"],
        ["Core ML", "CPU_AND_NE"],
        ["hybrid", "CPU_ONLY"],
        ["Core ML", "CPU_ONLY"],
    ]
    assert {row[2] for row in rows[3:5]} == {"ANE not supported"}
    for row in rows[5:]:
        *measured, psnr_db, equal = row[2:]
        assert min(map(float, measured)) > 0
        assert float(psnr_db) >= 60
        assert equal == "100 %"
