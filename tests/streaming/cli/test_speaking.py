"""`transcribe --speak` as somebody uses it, with the embedded tiny.en and a voice that hums a while for each word."""

import json
import os
import re
import signal
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import ConfigError, Progress, SpeechConfig, TranslationConfig, Voice, VoiceError
from streaming.cli import main
from tests.streaming.cli.test_cli import CAPTIONS, FAST, RECORDINGS, words_of
from tests.streaming.shouting import Shouting

QUIET = [*FAST, "--quiet"]
KETTLE = str(RECORDINGS / "kettle.flac")
RATE, WORD_S = 16_000, 0.2


class Humming:
    """Every voice, of these languages. is_hoarse: it says nothing; interrupts: somebody presses Ctrl-C meanwhile."""

    description = "somebody who hums"
    rate = RATE

    def __init__(self, languages: Sequence[str] = ("en", "de", "es")) -> None:
        self.languages = tuple(languages)
        self.said = list[tuple[str, str]]()
        self.configs = list[SpeechConfig]()
        self.is_hoarse = self.interrupts = False

    def voice(self, language: str) -> Voice:
        if language not in self.languages:
            raise ConfigError(f"nobody hums {language}")
        return self

    def status(self, language: str) -> None:
        pass

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        self.said.append((language, text))
        if self.interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        if self.is_hoarse:
            raise VoiceError("it is hoarse")
        yield np.full(round(len(text.split()) * WORD_S / speed * RATE), 0.5, np.float32)


@pytest.fixture
def humming(monkeypatch: pytest.MonkeyPatch) -> Humming:
    voices = Humming()

    def open_voices(config: SpeechConfig, progress: Callable[[Progress], None]) -> Humming:  # noqa: ARG001
        voices.configs.append(config)
        return voices

    def open_translator(config: TranslationConfig, progress: Callable[[Progress], None]) -> Shouting:  # noqa: ARG001
        return Shouting()

    monkeypatch.setattr("simul_whisper.open_voices", open_voices, raising=False)
    monkeypatch.setattr("simul_whisper.open_translator", open_translator, raising=False)
    return voices


def hums(path: Path) -> tuple[list[tuple[float, float]], float]:
    """When something is said in a file, and how long it is, in seconds."""
    with wave.open(str(path)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.abs(samples) > 10_000, [0]]).astype(int))) / rate
    return [(float(start), float(end)) for start, end in edges.reshape(-1, 2)], len(samples) / rate


def test_each_sentence_is_spoken_when_its_words_were_known_and_not_over_another(
    humming: Humming, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.wav"
    assert main(["transcribe", CAPTIONS, *QUIET, "--chunk", "1", "--format", "words-jsonl", "--speak", str(out)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # Where each word ends, with its punctuation, which may come later.
    begins_word = [n for n, row in enumerate(rows) if any(map(str.isalnum, row["word"]))]
    ends = [n - 1 for n in [*begins_word[1:], len(rows)]]
    assert words_of(" ".join(text for _, text in humming.said)) == words_of((RECORDINGS / "captions.txt").read_text())
    spans, _ = hums(out)
    # When the first phrase of each sentence was known; further ones follow it without a pause.
    n, known_s, begins = 0, list[float](), True
    for _, text in humming.said:
        n += len(text.split())
        known_s += [rows[ends[n - 1]]["emitted"]] if begins else []
        begins = text.endswith((".", "?", "!"))
    assert len(spans) == len(known_s) > 2
    assert all(start >= known - 0.01 for (start, _), known in zip(spans, known_s, strict=True))
    # The first begins as soon as its text is there.
    assert spans[0][0] == pytest.approx(known_s[0], abs=0.06)


def test_several_translations_are_a_file_each(humming: Humming, tmp_path: Path) -> None:
    flags = ["--to", "es,de", "--speak", str(tmp_path / "talk.wav"), "--speed", "1.25", "--speak-over"]
    assert main(["transcribe", CAPTIONS, *FAST, *flags]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"talk.es.wav", "talk.de.wav"}
    assert humming.configs[0].speed == 1.25
    spoken = {language: " ".join(text for each, text in humming.said if each == language) for language in ("es", "de")}
    assert spoken["es"] == spoken["de"] == spoken["es"].upper()
    assert words_of(spoken["es"]) == words_of((RECORDINGS / "captions.txt").read_text())


@pytest.mark.parametrize(("target", "language", "name"), [("transcript", "en", ""), ("German", "de", "")])
def test_one_text_may_be_chosen(target: str, language: str, name: str, humming: Humming, tmp_path: Path) -> None:
    out = tmp_path / f"talk{name}.wav"
    assert main(["transcribe", CAPTIONS, *QUIET, "--to", "es,de", "--speak", str(out), "--speak-target", target]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert {each for each, _ in humming.said} == {language}


def test_in_a_folder_each_recording_has_its_file_and_is_not_shorter_than_the_original(
    humming: Humming, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", CAPTIONS, KETTLE, *FAST, "--speak", f"{tmp_path}/spoken/", "--speak-over"]) == 0
    err = capsys.readouterr().err
    lengths = {path.name: hums(path)[1] for path in (tmp_path / "spoken").iterdir()}
    assert sorted(lengths) == ["captions.wav", "kettle.wav"]
    for name, length_s in lengths.items():
        told = re.search(rf"{Path(name).stem}\.flac: ([\d.]+) s.*spoken, in 0\.\d\d s per second of audio", err)
        assert told
        assert length_s >= float(told[1]) - 0.06
    assert humming.said


def test_what_cannot_be_spoken_is_told_and_the_text_goes_on(
    humming: Humming, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    humming.is_hoarse = True
    assert main(["transcribe", CAPTIONS, *FAST, "--speak", str(tmp_path / "out.wav")]) == 0
    out, err = capsys.readouterr()
    assert words_of(out) == words_of((RECORDINGS / "captions.txt").read_text())
    assert re.search(r"captions.flac: 00:\d\d to 00:\d\d is not spoken: it is hoarse", err)
    assert err.endswith("| nothing spoken\n")
    assert hums(tmp_path / "out.wav") == ([], 0.0) or not hums(tmp_path / "out.wav")[0]


def test_after_ctrl_c_the_file_holds_what_was_spoken(humming: Humming, tmp_path: Path) -> None:
    humming.interrupts = True
    with pytest.raises(SystemExit) as stopped:
        main(["transcribe", KETTLE, *QUIET, "--speak", str(tmp_path / "out.wav")])
    assert stopped.value.code == 130
    spans, length_s = hums(tmp_path / "out.wav")
    spoken_s = sum(end - start for start, end in spans)
    assert spoken_s == pytest.approx(WORD_S * sum(len(text.split()) for _, text in humming.said), abs=0.05)
    # It was pressed at the first phrase.
    assert 0 < length_s < 15


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--voice", "joe"], "--voice needs --speak"),
        (["--speak-over"], "--speak-over needs --speak"),
        (["--speak", "out.mp3"], "ends with .wav"),
        (["--speak", "missing/out.wav"], "folder does not exist"),
        (["--speak", "out.wav", "--speak-target", "fr"], "add --to fr"),
        (["--speak", "out.wav", "--speak-target", "auto"], "auto"),
        (["--speak", "out.wav", "--to", "ar"], "nobody hums ar"),
        (["--speak", "out.wav", "--most-speed", "9"], "most_speed"),
        (["--speak", "out.wav", "--output", "out.wav"], "a file each"),
        (["--speak", "out.wav", "--engine", "whisper-cli"], "no use for --speak"),
        (
            [CAPTIONS, "--speak", "out.wav"],
            "2 recordings are not spoken into one file; give --speak DIR/ for a file each",
        ),
    ],
)
@pytest.mark.usefixtures("humming")
def test_bad_flags_are_one_line_and_status_2(
    flags: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [] if "whisper-cli" in flags else FAST
    assert main(["transcribe", CAPTIONS, *flags, *model]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.usefixtures("humming")
def test_a_recording_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = tmp_path / "talk.wav"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    before = recording.read_bytes()
    for place in (str(recording), f"{tmp_path}/"):
        assert main(["transcribe", str(recording), *QUIET, "--speak", place]) == 2
        assert "is a recording that is heard" in capsys.readouterr().err
    assert recording.read_bytes() == before
