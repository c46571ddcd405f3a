"""`simul-whisper interpret` as a user meets it: PulseAudio plays into the microphone and records the loudspeaker.

Model and voice are those of tones, which never mishear: what is heard of the loudspeaker is exactly what was said.
"""

import os
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig
from simul_whisper.mel import log_mel
from streaming.cli import main
from streaming.cli.speech import spoken_of_several
from tests.streaming.audio.virtual_microphone import VirtualMicrophone, missing, virtual_microphone, wait_for
from tests.streaming.cli.interpret_tones import forked
from tests.tones import GAP_SAMPLES, N_MELS, WORDS, ToneEncoder, heard, in_english, speech_of

COMMAND = ["interpret", "--no-vad"]
PROGRAM = [sys.executable, str(Path(__file__).with_name("interpret_tones.py")), *COMMAND]
# In English, the last one has a comma, up to which so long a sentence is spoken although it goes on.
SPOKEN = [2, 3, 5, 8, 10, 0]
ENGLISH = [in_english(word) for word in SPOKEN]
# The same, where it is spoken as it was said.
ECHOED = [1, 3, 5, 8, 10, in_english(0)]
# Another, since the engine takes what is said three times for a loop.
ANOTHER = [2, 4, 6, 9, 11, in_english(0)]
TWO = [1, 3]


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

    def __init__(self, flags: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self._out.touch()
        self._err.touch()
        self.process = forked([*COMMAND, *flags], environment, self._out, self._err)

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def wait_for(self, words: str, n_times: int = 1) -> None:
        wait_for(lambda: self.err.count(words) >= n_times or not self.process.is_alive(), 60, words)
        assert self.process.is_alive(), self.err

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self) -> int | None:
        """Return the exit status."""
        self.process.join(60)
        return self.process.exitcode

    def stop(self) -> int | None:
        self.send(signal.SIGINT)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()


@contextmanager
def interpreting(room: VirtualMicrophone, folder: Path, *flags: str) -> Iterator[Interpreting]:
    running = Interpreting(flags, room.environment, folder)
    try:
        running.wait_for("listening to")
        yield running
    finally:
        running.kill()


def ended(flags: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[int | None, str, list[str]]:
    """Return the exit status of one that ends by itself, its captions, and the lines of what else it said."""
    running = Interpreting(flags, environment, folder)
    try:
        return running.wait(), running.out.strip(), running.err.splitlines()
    finally:
        running.kill()


def text_of(words: Iterable[int]) -> str:
    return "".join(WORDS[word] for word in words).strip()


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
    talk, spoken = recording_of(TWO, tmp_path / "talk.wav", pause_s=0.5), tmp_path / "spoken.wav"
    command = [*PROGRAM, str(talk), "--speak", str(spoken)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == text_of(TWO)
    with wave.open(str(spoken)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
    samples, _ = soundfile.read(spoken, dtype="float32")
    assert words_in(np.interp(np.arange(0, len(samples), 1.5), np.arange(len(samples)), samples)) == TWO


@pytest.mark.waits
def test_what_is_said_is_heard_in_another_language(room: VirtualMicrophone, tmp_path: Path) -> None:
    talk, monitor = recording_of(SPOKEN, tmp_path / "talk.wav"), tmp_path / "monitor"
    with interpreting(room, tmp_path, "--task", "translate", "--language", "es") as running, room.recording(monitor):
        running.wait_for("wear headphones")
        with room.playing(talk):
            wait_for(lambda: words_in(recorded(monitor)) == ENGLISH, 60, "the voice")
        assert running.stop() == 0
        assert "Traceback" not in running.err
    assert words_in(recorded(monitor)) == ENGLISH


@pytest.mark.waits
def test_half_duplex_hears_nothing_of_the_voice_and_listens_again_after_it(
    room: VirtualMicrophone, tmp_path: Path
) -> None:
    talk, more = recording_of(ECHOED, tmp_path / "talk.wav"), recording_of(TWO, tmp_path / "more.wav")
    with room.feeding_back(), interpreting(room, tmp_path, "--half-duplex") as running:
        running.wait_for("the microphone is not listened to")
        with room.playing(talk):
            running.wait_for("were not listened to")
        with room.playing(more) as player:
            player.wait(30)
        assert running.stop() == 0
        assert running.out.split() == text_of([*ECHOED, *TWO]).split()


def test_ctrl_c_cuts_the_voice_and_keeps_the_captions(room: VirtualMicrophone, tmp_path: Path) -> None:
    talk, monitor = recording_of([*ECHOED, 2, 4], tmp_path / "talk.wav", pause_s=60), tmp_path / "monitor"
    with interpreting(room, tmp_path, str(talk)) as running, room.recording(monitor):
        wait_for(lambda: len(words_in(recorded(monitor))) >= 2, 60, "the voice")
        assert running.stop() == 0
        assert running.out.split() == text_of([*ECHOED, 2, 4]).split()
    said = words_in(recorded(monitor))
    assert said == ECHOED[: len(said)]
    assert len(said) < len(ECHOED)


@pytest.mark.long
def test_a_loudspeaker_may_go_in_mid_sentence_and_come_back(room: VirtualMicrophone, tmp_path: Path) -> None:
    talk, captions = tmp_path / "talk.wav", tmp_path / "captions.txt"
    # A busy machine takes seconds to see that the device is lost, and to record it again.
    between = [GAP_SAMPLES] * (len(ECHOED) - 1) + [4 * SAMPLE_RATE] + [GAP_SAMPLES] * len(ANOTHER)
    soundfile.write(talk, speech_of([*ECHOED, *ANOTHER], between).samples, SAMPLE_RATE)
    # Else the voice would be played into the microphone.
    room.pull_out()
    try:
        with interpreting(room, tmp_path, str(talk), "--output", str(captions)) as running:
            with room.recording(tmp_path / "before"):
                wait_for(lambda: words_in(recorded(tmp_path / "before")), 60, "the voice")
                room.pull_out_loudspeaker()
                running.wait_for("is lost")
                # It stands still until the next recorder runs, which else misses the beginning.
                running.send(signal.SIGSTOP)
            room.plug_in_loudspeaker()
            with room.recording(tmp_path / "after"):
                running.send(signal.SIGCONT)
                running.wait_for("is back")
                assert running.wait() == 0
                wait_for(lambda: words_in(recorded(tmp_path / "after")) == ANOTHER, 10, "the whole sentence")
        assert running.out.split() == text_of([*ECHOED, *ANOTHER]).split()
        assert "Traceback" not in running.err
    finally:
        room.plug_in()
        room.pactl("set-default-sink", "loud")


def test_without_a_loudspeaker_there_are_captions_and_one_line_says_why(
    room: VirtualMicrophone, tmp_path: Path
) -> None:
    talk = recording_of(TWO, tmp_path / "talk.wav", pause_s=0.5)
    environment = {**room.environment, "PULSE_SERVER": f"unix:{tmp_path}/none"}
    status, captions, said = ended([str(talk)], environment, tmp_path)
    assert (status, captions) == (0, text_of(TWO))
    (line,) = [line for line in said if "nothing is heard" in line]
    assert "--output-device" in line


def test_without_a_voice_for_the_language_there_are_captions_and_one_line_says_why(tmp_path: Path) -> None:
    talk, spoken = recording_of(TWO, tmp_path / "talk.wav", pause_s=0.5), tmp_path / "spoken.wav"
    status, captions, said = ended([str(talk), "--language", "fr", "--speak", str(spoken)], os.environ, tmp_path)
    assert (status, captions) == (0, text_of(TWO))
    assert [line for line in said if "spoken" in line] == [
        "simul-whisper: nothing is spoken: no voice speaks French here, only English, Spanish; see `simul-whisper "
        "voices`, or give the .onnx file of a voice; the captions go on"
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


def test_which_of_several_translations_is_spoken_is_told() -> None:
    assert not spoken_of_several(AlignAttConfig(targets=("es",)))
    told = spoken_of_several(AlignAttConfig(targets=("es", "de", "fr")))
    assert told == "of the translations, the first is spoken: es; de, fr can only be read"


def test_a_loudspeaker_that_is_not_there_is_refused_with_the_names(room: VirtualMicrophone, tmp_path: Path) -> None:
    talk = recording_of(TWO, tmp_path / "talk.wav")
    status, _, (line,) = ended([str(talk), "--output-device", "no such"], room.environment, tmp_path)
    assert status == 2
    assert line.startswith("simul-whisper: there is no loudspeaker 'no such'; there are: ")


def test_microphones_and_loudspeakers_are_listed(room: VirtualMicrophone, tmp_path: Path) -> None:
    status, listed, _ = ended(["--list-devices"], room.environment, tmp_path)
    assert status == 0
    devices = r"microphones:\n(?s:.*)^\* +\d+ default (?s:.*)loudspeakers:\n(?s:.*)^\* +\d+ default "
    assert re.search(devices, listed, re.MULTILINE)


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
    ran = subprocess.run(command, env=room.environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
