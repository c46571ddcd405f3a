"""`simul-whisper interpret` as a user meets it: PulseAudio plays into the microphone and records the loudspeaker.

Model and voice are those of tones, which never mishear: what is heard of the loudspeaker is exactly what was said.
"""

import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE
from simul_whisper.mel import log_mel
from streaming.cli import main
from tests.streaming.audio.virtual_microphone import VirtualMicrophone, missing, virtual_microphone, wait_for
from tests.tones import N_MELS, WORDS, ToneEncoder, heard, in_english, speech_of

PROGRAM = [sys.executable, str(Path(__file__).with_name("interpret_tones.py")), "interpret", "--no-vad"]
# In English, the last one has a comma, up to which so long a sentence is spoken although it goes on.
SPOKEN = [1, 3, 5, 8, 10, 12, 0]
ENGLISH = [in_english(word) for word in SPOKEN]
TEXT = "".join(WORDS[word] for word in SPOKEN).strip()


@pytest.fixture(scope="module")
def room() -> Iterator[VirtualMicrophone]:
    what = missing()
    if what:
        pytest.skip(what)
    with virtual_microphone() as started:
        started.connect_loudspeaker()
        yield started


class Interpreting:
    """A running `interpret`, and what it has written so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.process, self._folder = process, folder

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text("utf-8")

    @property
    def err(self) -> str:
        return (self._folder / "err").read_text("utf-8")

    def wait_for(self, words: str, timeout_s: float = 30) -> None:
        wait_for(lambda: words in self.out + self.err or self.process.poll() is not None, timeout_s, words)
        assert self.process.poll() is None, self.err

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def interpreting(room: VirtualMicrophone, folder: Path, *flags: str) -> Iterator[Interpreting]:
    with (
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
        subprocess.Popen([*PROGRAM, *flags], stdout=out, stderr=err, env=room.environment) as process,
    ):
        try:
            running = Interpreting(process, folder)
            running.wait_for("listening to")
            yield running
        finally:
            process.kill()


def recording_of(words: list[int], path: Path, pause_s: float = 1.0) -> Path:
    silence = np.zeros(round(pause_s * SAMPLE_RATE), np.float32)
    soundfile.write(path, np.concatenate([speech_of(words).samples, silence]), SAMPLE_RATE)
    return path


def words_in(samples: NDArray[np.float32]) -> list[int]:
    """Return what the tone model hears, piece by piece, cut where it is silent."""
    words, start = list[int](), 0
    while start < len(samples):
        end = min(len(samples), start + 28 * SAMPLE_RATE)
        if end < len(samples):
            loud = np.abs(samples[start:end]).reshape(-1, 1_600).max(axis=1) > 0.01
            end = start + 1_600 * (len(loud) - int(np.argmin(loud[::-1])))
        words += [word for word, _ in heard(ToneEncoder().encode(log_mel(samples[start:end], N_MELS, 0)))]
        start = end
    return words


def recorded(path: Path) -> NDArray[np.float32]:
    return np.frombuffer(path.read_bytes(), "<i2").astype(np.float32) / 32768


def test_a_recording_is_spoken_to_a_file(tmp_path: Path) -> None:
    talk, spoken = recording_of(SPOKEN, tmp_path / "talk.wav"), tmp_path / "spoken.wav"
    command = [*PROGRAM, str(talk), "--speak", str(spoken)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == TEXT
    with wave.open(str(spoken)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
    samples, _ = soundfile.read(spoken, dtype="float32")
    assert words_in(np.interp(np.arange(0, len(samples), 1.5), np.arange(len(samples)), samples)) == SPOKEN


def test_what_is_said_is_heard_in_another_language(room: VirtualMicrophone, tmp_path: Path) -> None:
    talk, monitor = recording_of(SPOKEN, tmp_path / "talk.wav"), tmp_path / "monitor"
    with interpreting(room, tmp_path, "--task", "translate", "--language", "es") as running, room.recording(monitor):
        running.wait_for("wear headphones")
        with room.playing(talk) as player:
            player.wait(30)
        wait_for(lambda: words_in(recorded(monitor)) == ENGLISH, 30, "the voice")
        assert running.stop() == 0
        assert "Traceback" not in running.err
    assert words_in(recorded(monitor)) == ENGLISH
