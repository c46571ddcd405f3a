"""`transcribe --engine whisper-cli`, with a stand-in that takes whisper.cpp's flags and writes what it writes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from streaming.audio.files import read_audio
from streaming.cli import main
from tests.conftest import RECORDINGS
from tests.streaming.audio.made_recordings import tone, write_tracks
from tests.streaming.engines import stand_in

CAPTIONS = str(RECORDINGS / "captions.flac")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def engine(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The flags that choose it; it is found by its name."""
    program = stand_in.write_program(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert not list(temporary.iterdir())
    return ["--engine", "whisper-cli", "--engine-model", str(stand_in.write_model(tmp_path)), "--quiet"]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_its_words_come_out_as_ours_do(engine: list[str], temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", CAPTIONS, *engine]) == 0
    assert said(capsys) == "Hello, world. Bye.\n"
    assert main(["transcribe", CAPTIONS, *engine, "--times"]) == 0
    assert said(capsys) == "[   0.00 -    0.90] Hello, world.\n[   1.70 -    1.90] Bye.\n"
    assert main(["transcribe", CAPTIONS, *engine, "--format", "words-jsonl"]) == 0
    rows = [json.loads(line) for line in said(capsys).splitlines()]
    assert rows[0] == {
        "schema": "transcript.words.v1",
        "word": " Hello,",
        "start": 0.0,
        "end": 0.4,
        "probability": 0.5,
        "language": "en",
        "emitted": 10.611,
    }
    assert "".join(row["word"] for row in rows) == " Hello, world. Bye."
    assert main(["transcribe", CAPTIONS, *engine, "--format", "srt"]) == 0
    assert said(capsys).startswith("1\n00:00:00,000 --> 00:00:0")
    assert not list(temporary.iterdir())


def test_the_summary_names_program_and_model(engine: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", CAPTIONS, *engine[:-1]]) == 0
    err = capsys.readouterr().err
    assert "captions.flac: 10.6 s, language en | whisper-cli, model ggml-base.bin | " in err
    assert len(err.splitlines()) == 1


def test_it_is_given_the_audio_and_what_the_settings_say(engine: list[str], tmp_path: Path) -> None:
    flags = ["--language", "German", "--task", "translate", "--init-prompt=-Hallo", "--static-init-prompt", "Käse"]
    assert main(["transcribe", CAPTIONS, *engine, *flags, "--decoder-type", "beam", "--beam-size", "3"]) == 0
    (given,) = stand_in.given_to(tmp_path / "ggml-base.bin")
    assert {name: given.get(name) for name in ("--language", "--translate", "--prompt", "--beam-size")} == {
        "--language": "de",
        "--translate": True,
        "--prompt": "Käse -Hallo",
        "--beam-size": "3",
    }
    audio = {"rate": 16_000, "channels": 1, "bytes": 2, "samples": len(read_audio(CAPTIONS))}
    assert audio.items() <= given.items()


def test_left_alone_it_detects_the_language_and_searches_as_it_likes(engine: list[str], tmp_path: Path) -> None:
    assert main(["transcribe", CAPTIONS, *engine]) == 0
    (given,) = stand_in.given_to(tmp_path / "ggml-base.bin")
    assert given["--language"] == "auto"
    assert given.keys().isdisjoint({"--translate", "--prompt", "--beam-size"})


def test_channels_are_heard_one_by_one(engine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tracks(tmp_path / "talk.wav", [[tone(2.0), tone(2.0, 300.0)]], "pcm_s16le")
    assert main(["transcribe", str(path), *engine, "--channels", "separate", "--times"]) == 0
    lines = ["left: [   0.00 -    0.90] Hello, world.", "left: [   1.70 -    1.90] Bye."]
    assert capsys.readouterr().out.splitlines() == [*lines, *(line.replace("left", "right") for line in lines)]
    assert [given["samples"] for given in stand_in.given_to(tmp_path / "ggml-base.bin")] == [32_000, 32_000]


def test_one_that_it_cannot_hear_does_not_keep_it_from_the_others(
    engine: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "missing.wav", CAPTIONS, *engine]) == 2
    out, err = capsys.readouterr()
    assert out == "Hello, world. Bye.\n"
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("does", "message"),
    [
        (
            {"status": 3, "says": "error: failed to initialize whisper context\n\n"},
            "exit status 3: error: failed to ini",
        ),
        ({"status": 1, "says": "nothing to say\x1b[31m\n"}, "whisper-cli failed: exit status 1\n"),
        (
            {"content": "", "says": "error: failed to read audio\x1b[0m\n"},
            "no JSON: error: failed to read audio\ufffd[0m",
        ),
        ({"lacks": ["--output-json-full"]}, "it wrote no JSON: error: unknown argument: --output-json-full"),
        ({"content": "{"}, "not JSON"),
        ({"content": "x" * 1024, "times": 2048}, "wrote more than 1222427 bytes of JSON for 11 s of audio"),
        ({"content": '{"transcription": []}'}, "is not understood"),
    ],
)
def test_its_failures_are_one_line_and_status_2(
    does: dict[str, Any], message: str, engine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.write_model(tmp_path, **does)
    assert main(["transcribe", CAPTIONS, *engine]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert err.rstrip("\n").isprintable()


def test_a_recording_that_it_cannot_hear_gets_no_file(engine: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "captions"
    for format_name, does, n_files in (("ttml", {"status": 3}, 0), ("srt", {}, 1), ("ttml", {"segments": []}, 2)):
        stand_in.write_model(tmp_path, **does)
        main(["transcribe", CAPTIONS, *engine, "--format", format_name, "--output", f"{folder}/"])
        assert len(list(folder.iterdir())) == n_files


def test_an_english_model_is_not_taken_for_another_language(
    engine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.write_model(tmp_path, multilingual=False)
    assert main(["transcribe", CAPTIONS, *engine, "--language", "de"]) == 2
    assert "ggml-base.bin can only transcribe English" in capsys.readouterr().err
    assert main(["transcribe", CAPTIONS, *engine]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--realtime"], "whisper-cli has no use for --realtime; leave it out"),
        (["--to", "en"], "no use for --to"),
        (["--log", "x.jsonl"], "no use for --log"),
        (["--vad"], "no use for flags of voice activity"),
        (["--translation-url", "http://x"], "no use for --translation-url"),
        (["--padding-len", "1", "--frame-threshold", "25"], "no use for --frame-threshold, --padding-len"),
        (["--model", "base"], "no use for --model; leave it out; its model is given with --engine-model"),
        (["--preset", "mlx_only"], "no use for --backend"),
        (["--engine-model", ""], "needs its model: --engine-model ggml-base.bin"),
        (["--engine-model", "missing.bin"], "missing.bin: no such file"),
        (["--engine-path", "/no/whisper-cli"], "/no/whisper-cli: no program that can be run; install whisper.cpp"),
        (["--engine", "simul-whisper"], "--engine-model needs --engine whisper-cli"),
        (["--init-prompt", "a\0b"], "whisper-cli does not start: embedded null byte"),
        (["--init-prompt", "a" * 10_000_000], "whisper-cli does not start: Argument list too long"),
    ],
)
def test_what_has_no_meaning_for_it_is_refused(
    flags: list[str], message: str, engine: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", CAPTIONS, *engine, *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_where_it_is_not_installed_it_says_how(
    engine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["transcribe", CAPTIONS, *engine]) == 2
    assert (
        "whisper-cli: no program that can be run; install whisper.cpp (brew install whisper-cpp"
        in capsys.readouterr().err
    )


def test_its_older_name_and_a_path_are_found(
    engine: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = stand_in.write_program(tmp_path / "older", "whisper-cpp")
    assert main(["transcribe", CAPTIONS, *engine[:-1], "--engine-path", str(old)]) == 0
    assert "whisper-cpp, model" in capsys.readouterr().err


def test_interrupted_it_stops_the_program(engine: list[str], tmp_path: Path, temporary: Path) -> None:
    model = stand_in.write_model(tmp_path, hangs=True)
    # Whoever reads it waits for what the program writes.
    os.mkfifo(f"{model}.given")
    with subprocess.Popen(
        [sys.executable, "-m", "streaming.cli", "transcribe", CAPTIONS, *engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
        # Tests that run in the background of a shell inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert Path(f"{model}.given").read_text()
        process.send_signal(signal.SIGINT)
        # The program has its error output from us: this ends when it has ended, too.
        out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err == "simul-whisper: interrupted; whisper-cli was stopped before it had told any words\n"
    assert not list(temporary.iterdir())
