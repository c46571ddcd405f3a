"""The command line as a user meets it, with the embedded tiny.en."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.cli import main

RECORDINGS = Path(__file__).parents[3] / "demos" / "recordings"
CAPTIONS = str(RECORDINGS / "captions.flac")
FAST = ["--model", "tiny.en", "--padding-len", "1"]


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_transcribes_to_standard_output_and_reports_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", CAPTIONS, *FAST]) == 0
    out, err = capsys.readouterr()
    spoken = (RECORDINGS / "captions.txt").read_text()
    assert words_of(out) == words_of(spoken)
    assert "model tiny.en" in err
    assert "encoder" in err
    assert "computation per second" in err


def test_a_bad_file_is_one_line_and_the_others_are_still_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text_file = tmp_path / "notes.wav"
    text_file.write_text("not audio")
    assert main(["transcribe", "missing.wav", str(text_file), CAPTIONS, *FAST, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert len(err.strip().splitlines()) == 2
    assert "missing.wav" in err
    assert "notes.wav" in err
    assert "captions" not in err
    assert "screen" in out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--frame-threshold", "0"], "frame_threshold"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--model", "tiny.en", "--language", "de"], "German (de)"),
        (["--language", "klingon"], "klingon"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--output", "/no/such/folder/out.txt"], "/no/such/folder/out.txt"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", CAPTIONS, *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("flags", [["--no-such-flag"], ["--alignment-heads", "[[3"], ["--task", "sing"]])
def test_flags_that_cannot_be_read_are_one_line_and_status_2(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["transcribe", CAPTIONS, *flags])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert flags[0] in err
    assert len(err.strip().splitlines()) == 1


def test_captions_go_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.srt"
    assert main(["transcribe", CAPTIONS, *FAST, "--format", "srt", "--output", str(output), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert output.read_text().startswith("1\n00:00:0")


def test_flags_win_over_the_file_of_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('model_name = "no-such-model"\npadding_len = 1.0\n')
    assert main(["transcribe", CAPTIONS, "--config", str(settings), "--model", "tiny.en", "--quiet"]) == 0
    assert "screen" in capsys.readouterr().out


def test_the_metrics_log_adds_up_to_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "metrics.jsonl"
    assert main(["transcribe", CAPTIONS, *FAST, "--log", str(log), "--quiet"]) == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    tokens = [token for row in rows for token in row.get("generated_tokens", [])]
    assert "".join(tokens).strip() == capsys.readouterr().out.strip()
    assert any("model_loading_time" in row for row in rows)


def test_models_lists_the_embedded_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^embedded +tiny\.en ", out, re.MULTILINE)
    assert re.search(r"^embedded +base ", out, re.MULTILINE)
    assert "large-v3-turbo" in out


def test_interrupted_it_writes_what_was_heard() -> None:
    command = [sys.executable, "-m", "streaming.cli", "transcribe", str(RECORDINGS / "lighthouse.flac"), *FAST]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--realtime", "--times"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first_line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        # Not `communicate`, which passes over what came together with the first line.
        rest, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    assert words_of(first_line + rest)[:2] == ["good", "evening"]
    assert "interrupted" in err
    assert "Traceback" not in err
