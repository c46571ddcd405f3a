"""The log, read back by simulstream itself."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simul_whisper import Word
from streaming.evaluation.metrics_log import MetricsLog


def words_of(*texts: str) -> list[Word]:
    return [Word(text, 0, 0, 1, "en") for text in texts]


def write_log(stream: Any) -> None:
    log = MetricsLog(stream)
    log.model_loaded(0.5)
    log.start("talks/english.flac")
    log.chunk(1.0, 0.25, [])
    log.chunk(2.0, 0.5, words_of(" The", " tide", " turns"))
    log.chunk(2.5, 0.125, words_of(".", " Déjà."))
    log.start("talks/chinese.flac")
    log.chunk(1.0, 0.5, words_of("潮", "水"))
    log.start("talks/silence.flac")
    log.chunk(1.0, 0.25, [])


def test_lines_are_those_of_simulstream() -> None:
    stream = io.StringIO()
    write_log(stream)
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert rows[:2] == [{"model_loading_time": 0.5}, {"id": 1, "metadata": {"wav_name": "talks/english.flac"}}]
    assert rows[3] == {
        "id": 1,
        "total_audio_processed": 2.0,
        "computation_time": 0.5,
        "generated_tokens": [" The", " tide", " turns"],
        "generated_languages": ["en", "en", "en"],
        "deleted_tokens": [],
    }


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        write_log(stream)
    return path


def reader_of(path: Path, latency_unit: str) -> Any:
    readers = pytest.importorskip("simulstream.metrics.readers")
    config = SimpleNamespace(detokenizer_type="simuleval", latency_unit="spm")
    return readers.LogReader(config, str(path), latency_unit=latency_unit)


def test_simulstream_reads_texts_and_delays(log_path: Path) -> None:
    outputs = reader_of(log_path, "word").final_outputs_and_latencies()
    assert {name: output.final_text for name, output in outputs.items()} == {
        "english": "The tide turns. Déjà.",
        "chinese": "潮水",
        "silence": "",
    }
    # The full stop that came later makes "turns." a word of the third chunk, by simulstream's rule.
    assert outputs["english"].ideal_delays == [2.0, 2.0, 2.5, 2.5]
    assert outputs["english"].computational_aware_delays == [2.5, 2.5, 2.625, 2.625]


def test_simulstream_reads_characters(log_path: Path) -> None:
    reader = reader_of(log_path, "char")
    output = reader.final_outputs_and_latencies()["chinese"]
    assert (output.final_text, output.ideal_delays) == ("潮水", [1.0, 1.0])
    assert reader.num_deleted_tokens() == 0
