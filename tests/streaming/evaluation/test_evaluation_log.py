"""The logs, read back, and scored by omnisteval itself where it is installed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streaming.evaluation.evaluation_log import has_omnisteval, latencies, write_logs
from streaming.evaluation.manifest import Segment
from streaming.evaluation.results import ClipResult
from streaming.evaluation.scoring import laal_s
from tests.streaming.evaluation.results import emission, result

NEEDS_OMNISTEVAL = pytest.mark.skipif(not has_omnisteval(), reason="needs omnisteval")
SHORT = result(emission(1.0, [" The"]), emission(2.0, [" tide", " turns"], late_s=0.5), emission(4.0, ["."]), id="a.1")
CHINESE = result(
    emission(1.0, ["潮"]), emission(2.0, ["水", "退了"], late_s=0.25), id="zh.1", lang="zh", reference="潮水退了"
)
LONG = result(
    emission(2.0, [" The tide"]),
    emission(4.0, [" turns."], late_s=0.5),
    emission(6.0, [" Here is"]),
    emission(8.0, [" the land."], late_s=0.5),
    id="long",
    kind="long",
    duration_s=8.0,
    reference="The tide turns. Here is the land.",
    segments=(Segment(0.0, 4.0, "The tide turns."), Segment(4.5, 8.0, "Here is the land.")),
)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_word_has_a_delay_in_milliseconds(tmp_path: Path) -> None:
    assert write_logs(tmp_path / "en", [SHORT]) == [tmp_path / "en"]
    assert rows(tmp_path / "en" / "hypotheses.jsonl") == [
        {
            "source": "a.1.wav",
            "prediction": "The tide turns.",
            "delays": [1000, 2000, 2000],
            "elapsed": [1000, 2500, 2500],
            "source_length": 4000,
        }
    ]
    assert (tmp_path / "en" / "references.txt").read_text() == "The tide turns.\n"


def test_a_character_has_one_too(tmp_path: Path) -> None:
    write_logs(tmp_path / "zh", [CHINESE])
    (row,) = rows(tmp_path / "zh" / "hypotheses.jsonl")
    assert (row["prediction"], row["delays"]) == ("潮水退了", [1000, 2000, 2000, 2000])
    assert "--char_level" in (tmp_path / "zh" / "score.sh").read_text()


def test_a_mark_that_stands_alone_has_none(tmp_path: Path) -> None:
    write_logs(tmp_path / "en", [result(emission(1.0, [" The tide", " —"]), emission(2.0, [" turns."]))])
    (row,) = rows(tmp_path / "en" / "hypotheses.jsonl")
    assert (row["prediction"], row["delays"]) == ("The tide turns.", [1000, 1000, 2000])


def test_clips_with_segments_stand_apart_and_those_without_a_reference_nowhere(tmp_path: Path) -> None:
    silent = result(emission(1.0, []), id="silent", reference="")
    whole, segmented = write_logs(tmp_path / "en-long", [LONG, silent, SHORT])
    assert [row["source"] for row in rows(whole / "hypotheses.jsonl")] == ["a.1.wav"]
    assert (segmented / "segmentation.yaml").read_text().splitlines() == [
        '- {"wav": "long.wav", "offset": 0.0, "duration": 4.0}',
        '- {"wav": "long.wav", "offset": 4.5, "duration": 3.5}',
    ]
    assert (segmented / "references.txt").read_text() == "The tide turns.\nHere is the land.\n"
    assert write_logs(tmp_path / "none", [silent]) == []


def test_the_metrics_log_adds_up_to_the_texts(tmp_path: Path) -> None:
    write_logs(tmp_path / "en", [SHORT])
    found = rows(tmp_path / "en" / "metrics.jsonl")
    assert "".join(token for row in found for token in row.get("generated_tokens", [])) == " The tide turns."
    assert [row["computation_time"] for row in found[1:]] == [0, 0.5, 0]


@NEEDS_OMNISTEVAL
@pytest.mark.parametrize("clip", [SHORT, CHINESE])
def test_omnisteval_finds_our_delays(clip: ClipResult, tmp_path: Path) -> None:
    write_logs(tmp_path / "one", [clip])
    found = latencies(tmp_path / "one")
    # YAAL is LAAL over the words that came before the end.
    before_end = [delay for delay in clip.delays_s if delay < clip.duration_s]
    n_units = max(len(clip.delays_s), 3 if clip is SHORT else 4)
    step_s = clip.duration_s / n_units
    assert found["yaal_s"] == pytest.approx(
        sum(delay - n * step_s for n, delay in enumerate(before_end)) / len(before_end), abs=0.001
    )
    assert found["yaal_ca_s"] > found["yaal_s"]  # type: ignore[operator]


@NEEDS_OMNISTEVAL
def test_omnisteval_segments_a_long_clip_anew(tmp_path: Path) -> None:
    found = latencies(write_logs(tmp_path / "en", [LONG])[0])
    first, second = laal_s([2, 2, 4], 4, 3), laal_s([1.5, 1.5, 3.5, 3.5], 3.5, 4)
    assert found["stream_laal_s"] == pytest.approx((first + second) / 2, abs=0.001)
    assert found["stream_laal_ca_s"] > found["stream_laal_s"]  # type: ignore[operator]
    assert found["long_yaal_s"] is not None


@NEEDS_OMNISTEVAL
@pytest.mark.parametrize("clip", [SHORT, LONG])
def test_the_script_that_is_kept_scores_the_same(clip: ClipResult, tmp_path: Path) -> None:
    (folder,) = write_logs(tmp_path / "one", [clip])
    expected = latencies(folder)
    (folder / "scores.tsv").unlink()
    (tmp_path / "omnisteval").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m omnisteval.cli "$@"\n')
    (tmp_path / "omnisteval").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh", str(folder / "score.sh")], env=environment, capture_output=True, check=True)
    assert latencies(folder) == expected
