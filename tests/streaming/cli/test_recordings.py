"""What commands show of recordings: channels kept apart, and notices once."""

import json
from pathlib import Path

import numpy as np
import pytest

from streaming.audio.files import read_audio
from streaming.cli import main
from streaming.cli.recordings import Speakers
from tests.conftest import RECORDINGS
from tests.streaming.audio.made_recordings import RATE, write_tracks
from tests.streaming.cli.test_cli import FAST, words_of
from tests.streaming.shouting import Shouting


def test_a_line_belongs_to_one_speaker() -> None:
    written = list[str]()
    speakers = Speakers(written.append)
    left, right = speakers.lines("left"), speakers.lines("right")
    left("Hello,")
    left(" how are you?")
    right("Fine")
    left(" Good.")
    left("\n")
    right("\n")
    right("thanks.")
    right("\nBye.")
    left("\n")
    expected = "left: Hello, how are you?\nright: Fine\nleft: Good.\nright: thanks.\nright: Bye."
    assert "".join(written) == expected


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same words, on the right two seconds later."""
    spoken = np.repeat(read_audio(RECORDINGS / "captions.flac"), RATE // 16_000).astype(np.float64)
    pause = np.zeros(2 * RATE)
    channels = [np.concatenate([spoken, pause]), np.concatenate([pause, spoken])]
    return str(write_tracks(tmp_path_factory.mktemp("talk") / "talk.wav", [channels], "pcm_s16le"))


def test_two_people_on_two_channels(conversation: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", conversation, *FAST, "--channels", "separate"]) == 0
    out, err = capsys.readouterr()
    spoken = words_of((RECORDINGS / "captions.txt").read_text())
    for label in ("left", "right"):
        lines = [line.removeprefix(f"{label}: ") for line in out.splitlines() if line.startswith(f"{label}: ")]
        assert words_of(" ".join(lines)) == spoken
    assert "talk.wav left:" in err
    assert "talk.wav right:" in err


def test_channels_as_rows_and_as_files(conversation: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    separate = ["transcribe", conversation, *FAST, "--quiet", "--channels", "separate"]
    assert main([*separate, "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["channel"] for row in rows} == {"left", "right"}
    output = tmp_path / "talk.srt"
    assert main([*separate, "--format", "srt", "--output", str(output)]) == 0
    left, right = (words_of((tmp_path / f"talk.{label}.srt").read_text()) for label in ("left", "right"))
    assert left == right == words_of((RECORDINGS / "captions.txt").read_text())


def test_channels_in_several_languages(
    conversation: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simul_whisper.open_translator", lambda *_: Shouting(), raising=False)
    separate = ["transcribe", conversation, *FAST, "--quiet", "--channels", "separate", "--to", "es"]
    assert main(separate) == 0
    lines = capsys.readouterr().out.splitlines()
    for label in ("left", "right"):
        spanish = [line.removeprefix(f"{label}: es: ") for line in lines if line.startswith(f"{label}: es: ")]
        english = [line.removeprefix(f"{label}: ") for line in lines if line.startswith(f"{label}: ")]
        assert [line.upper() for line in english if not line.startswith("es: ")] == spanish
        assert words_of(" ".join(spanish)) == words_of((RECORDINGS / "captions.txt").read_text())
    assert main([*separate, "--format", "srt", "--output", str(tmp_path / "talk.srt")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"talk.{channel}{language}.srt" for channel in ("left", "right") for language in ("", ".es")
    }


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--channels", "separate", "--format", "srt"], "give --output FILE"),
        (["--channels", "separate", "--log", "log.jsonl"], "leave out --log or --channels separate"),
        (["--channels", "3"], "there is no channel 3; it has 2"),
        (["--channels", "both"], "expected mix, separate, or a number"),
        (["--track", "de"], "there is no audio track 'de'; it has 1"),
    ],
)
def test_what_cannot_be_is_one_line(
    conversation: str, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", conversation, *FAST, *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_notices_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoken = np.repeat(read_audio(RECORDINGS / "captions.flac"), RATE // 16_000).astype(np.float64)
    path = write_tracks(tmp_path / "a.mkv", [[spoken], [spoken, -spoken]], "aac", languages=["fra", "eng"], default=1)
    assert main(["transcribe", str(path), *FAST, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert words_of(out) == words_of((RECORDINGS / "captions.txt").read_text())
    track, phase = err.splitlines()
    assert track == f"simul-whisper: {path}: audio track 2 is heard, of 1 (fra), 2 (eng, default)"
    assert phase.startswith(f"simul-whisper: {path}: channels were in opposite phase for ")
