"""`simul-whisper interpret` as a user meets it: PulseAudio plays into the microphone and records the loudspeaker.

Model and voice are those of tones, which never mishear: what is heard of the loudspeaker is exactly what was said.
"""

import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
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
# The same, where it is spoken as it was said.
ECHOED = [1, 3, 5, 8, 10, 12, in_english(0)]
# Others, since the engine takes what is said three times for a loop.
SENTENCES = [ECHOED, [2, 4, 6, 9, 11, 13, in_english(0)], [14, 7, 1, 5, 3, 15, in_english(0)]]
TALK = [word for sentence in SENTENCES for word in sentence]
TEXT = "".join(WORDS[word] for word in SPOKEN).strip()
TEXT_OF_TWO = "".join(WORDS[word] for word in SPOKEN[:2]).strip()


@pytest.fixture(scope="module")
def room() -> Iterator[VirtualMicrophone]:
    what = missing()
    if what:
        pytest.skip(what)
    with virtual_microphone() as started:
        started.plug_in_loudspeaker()
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

    def wait_for(self, words: str, n_times: int = 1) -> None:
        wait_for(lambda: self.err.count(words) >= n_times or self.process.poll() is not None, 60, words)
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
    # Where a machine that is too busy interrupts a tone, it is heard twice.
    return [word for word, _ in groupby(words)]


def recorded(path: Path) -> NDArray[np.float32]:
    return np.frombuffer(path.read_bytes(), "<i2").astype(np.float32) / np.float32(32768)


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


def test_half_duplex_hears_nothing_of_the_voice_and_listens_again_after_it(
    room: VirtualMicrophone, tmp_path: Path
) -> None:
    talk = recording_of(ECHOED, tmp_path / "talk.wav")
    with room.feeding_back(), interpreting(room, tmp_path, "--half-duplex") as running:
        running.wait_for("the microphone is not listened to")
        for n in (1, 2):
            with room.playing(talk) as player:
                player.wait(30)
            running.wait_for("were not listened to", n_times=n)
        assert running.stop() == 0
        assert running.out.split() == 2 * "".join(WORDS[word] for word in ECHOED).split()


def test_ctrl_c_cuts_the_voice_and_keeps_the_captions(room: VirtualMicrophone, tmp_path: Path) -> None:
    talk, monitor = recording_of([*ECHOED, 2, 4], tmp_path / "talk.wav", pause_s=60), tmp_path / "monitor"
    with interpreting(room, tmp_path, str(talk)) as running, room.recording(monitor):
        wait_for(lambda: len(words_in(recorded(monitor))) >= 2, 30, "the voice")
        assert running.stop() == 0
        assert running.out.split() == "".join(WORDS[word] for word in [*ECHOED, 2, 4]).split()
    said = words_in(recorded(monitor))
    assert said == ECHOED[: len(said)]
    assert len(said) < len(ECHOED)


def test_a_loudspeaker_may_go_in_mid_sentence_and_come_back(room: VirtualMicrophone, tmp_path: Path) -> None:
    talk, flags = recording_of(TALK, tmp_path / "talk.wav"), ("--output", str(tmp_path / "captions.txt"))
    # Else the voice would be played into the microphone.
    room.pull_out()
    try:
        with interpreting(room, tmp_path, str(talk), *flags) as running:
            with room.recording(tmp_path / "before"):
                wait_for(lambda: len(words_in(recorded(tmp_path / "before"))) >= 2, 30, "the voice")
                room.pull_out_loudspeaker()
                running.wait_for("is lost")
            room.plug_in_loudspeaker()
            with room.recording(tmp_path / "after"):
                running.wait_for("is back")
                assert running.process.wait(60) == 0
                # Whole sentences, from the first that began after it was back; the recorder may be late.
                whole = (SENTENCES[1] + SENTENCES[2], SENTENCES[2])
                wait_for(lambda: words_in(recorded(tmp_path / "after")) in whole, 10, "whole sentences")
        assert running.out.split() == "".join(WORDS[word] for word in TALK).split()
        assert "Traceback" not in running.err
    finally:
        room.plug_in()
        room.pactl("set-default-sink", "loud")


def test_without_a_loudspeaker_there_are_captions_and_one_line_says_why(
    room: VirtualMicrophone, tmp_path: Path
) -> None:
    talk = recording_of(SPOKEN[:2], tmp_path / "talk.wav", pause_s=0.5)
    environment = {**room.environment, "PULSE_SERVER": f"unix:{tmp_path}/none"}
    ended = subprocess.run([*PROGRAM, str(talk)], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == TEXT_OF_TWO
    (line,) = [line for line in ended.stderr.splitlines() if "nothing is heard" in line]
    assert "--output-device" in line


def test_without_a_voice_for_the_language_there_are_captions_and_one_line_says_why(tmp_path: Path) -> None:
    talk, spoken = recording_of(SPOKEN[:2], tmp_path / "talk.wav", pause_s=0.5), tmp_path / "spoken.wav"
    command = [*PROGRAM, str(talk), "--language", "fr", "--speak", str(spoken)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == TEXT_OF_TWO
    assert [line for line in ended.stderr.splitlines() if "spoken" in line] == [
        "simul-whisper: nothing is spoken: no voice speaks fr here; the captions go on"
    ]
    assert not spoken.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["talk.wav", "--half-duplex"], "a recording does not hear the voice"),
        (["--speak", "a.wav", "--output-device", "1"], "leave out"),
        (["--speak", "a.wav", "--half-duplex"], "--half-duplex is for"),
        (["--speak", "a.wav", "--output", "./a.wav"], "of its own"),
        (["talk.wav", "--speak", "talk.wav"], "of its own"),
        (["--speak", "a.mp3"], "ends with .wav"),
        (["--speak", "missing/a.wav"], "folder does not exist"),
        (["talk.wav", "--channels", "separate"], "one stream"),
        (["--speed", "9"], "speed"),
        (["--to", "klingon"], "got language 'klingon'"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interpret", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_loudspeaker_that_is_not_there_is_refused_with_the_names(room: VirtualMicrophone, tmp_path: Path) -> None:
    talk = recording_of(SPOKEN, tmp_path / "talk.wav")
    command = [*PROGRAM, str(talk), "--output-device", "no such"]
    ended = subprocess.run(command, env=room.environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("simul-whisper: there is no loudspeaker 'no such'; there are: ")


def test_microphones_and_loudspeakers_are_listed(room: VirtualMicrophone) -> None:
    command = [*PROGRAM, "--list-devices"]
    listed = subprocess.run(command, env=room.environment, capture_output=True, text=True, check=True)
    assert re.search(
        r"microphones:\n(?s:.*)^\* +\d+ default (?s:.*)loudspeakers:\n(?s:.*)^\* +\d+ default ",
        listed.stdout,
        re.MULTILINE,
    )


RELISTED = """
from streaming.audio import devices
from streaming.audio.capture import Capture, Heard
from streaming.audio.loudspeaker import Loudspeaker
from streaming.audio.microphone import Microphone
from streaming.audio.playback import Playback

capture, playback = Capture(Microphone()), Playback(Loudspeaker())
playback.open()
heard = capture.read(5)
devices.look_again()
playback.say(bytes(8_000), 8_000, begins=True, is_last=True)
while len(heard) < 20 or not playback.is_heard:
    heard += capture.read(5)
    assert not playback.look()
assert all(isinstance(each, Heard) for each in heard), heard
capture.end()
playback.close()
devices.look_again()
"""


def test_both_devices_go_on_when_others_are_looked_for(room: VirtualMicrophone) -> None:
    command = [sys.executable, "-W", "error", "-c", RELISTED]
    ended = subprocess.run(command, env=room.environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
