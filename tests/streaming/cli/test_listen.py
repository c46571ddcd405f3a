"""`simul-whisper listen` as a user meets it: PortAudio records what is played into a virtual microphone."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streaming.cli import main
from streaming.evaluation.scoring import word_edits
from tests.streaming.audio.virtual_microphone import VirtualMicrophone, missing, virtual_microphone, wait_for

CAPTIONS = Path(__file__).parents[3] / "demos" / "recordings" / "captions.flac"
FAST = ["--model", "tiny.en", "--padding-len", "3", "--decoder-device", "cpu"]
MODEL_LOADED_S = 120


@pytest.fixture(scope="module")
def microphone() -> Iterator[VirtualMicrophone]:
    what = missing()
    if what:
        pytest.skip(what)
    with virtual_microphone() as started:
        yield started


class Listening:
    """A running `listen`, and what it has written so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.process, self._folder = process, folder

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text("utf-8")

    @property
    def err(self) -> str:
        return (self._folder / "err").read_text("utf-8")

    def wait_for(self, words: str, timeout_s: float = 60) -> None:
        wait_for(lambda: words in self.out + self.err or self.process.poll() is not None, timeout_s, words)
        assert self.process.poll() is None, self.err

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def listening(microphone: VirtualMicrophone, folder: Path, *flags: str) -> Iterator[Listening]:
    command = [sys.executable, "-m", "streaming.cli", "listen", *FAST, *flags]
    with (
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
        subprocess.Popen(command, stdout=out, stderr=err, env=microphone.environment) as process,
    ):
        try:
            running = Listening(process, folder)
            running.wait_for("listening to", MODEL_LOADED_S)
            yield running
        finally:
            process.kill()


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


@pytest.mark.waits
def test_what_is_spoken_becomes_captions(microphone: VirtualMicrophone, tmp_path: Path) -> None:
    output = tmp_path / "captions.srt"
    with listening(microphone, tmp_path, "--format", "srt", "--output", str(output)) as running:
        with microphone.playing(CAPTIONS) as player:
            running.wait_for("screen", 30)
            assert player.poll() is None, "words came only after the recording had ended"
            player.wait(60)
        running.wait_for("back")
        assert running.stop(signal.SIGINT) == 0
        assert "Traceback" not in running.err
        captions = " ".join(line for line in output.read_text().splitlines() if not re.match(r"\d", line))
        assert words_of(captions) == words_of(running.out)
        rate = word_edits(CAPTIONS.with_suffix(".txt").read_text(), running.out, "en").rate
        assert rate is not None
        assert rate <= 0.2


@pytest.mark.waits
@pytest.mark.skipif(not shutil.which("apertium"), reason="needs apertium, with English and Spanish")
def test_what_is_spoken_is_translated_too(microphone: VirtualMicrophone, tmp_path: Path) -> None:
    output, flags = tmp_path / "talk.srt", ("--to", "es", "--translation-backend", "apertium")
    with listening(microphone, tmp_path, *flags, "--format", "srt", "--output", str(output)) as running:
        with microphone.playing(CAPTIONS) as player:
            player.wait(60)
        running.wait_for("back")
        assert running.stop(signal.SIGINT) == 0
        shown = running.out.splitlines()
        spanish = [line.removeprefix("es: ") for line in shown if line.startswith("es: ")]
        english = [line for line in shown if not line.startswith("es: ")]
        for path, lines in ((output, english), (tmp_path / "talk.es.srt", spanish)):
            captions = [line for line in path.read_text().splitlines() if not re.match(r"\d", line)]
            assert " ".join(" ".join(captions).split()) == " ".join(lines)
        assert "palabras" in words_of(" ".join(spanish))
        assert "Traceback" not in running.err


@pytest.mark.waits
def test_a_microphone_may_go_and_come_back_and_kill_9_loses_nothing(
    microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    output = tmp_path / "captions.jsonl"
    with listening(microphone, tmp_path, "--format", "jsonl", "--output", str(output)) as running:
        with microphone.playing(CAPTIONS):
            running.wait_for("screen")
        microphone.pull_out()
        running.wait_for("is lost")
        microphone.plug_in()
        running.wait_for("is back")
        n_before = len(running.out)
        # Not the first word: what is said right after a device is back may be lost.
        with microphone.playing(CAPTIONS):
            wait_for(lambda: "screen" in running.out[n_before:], 60, "the words after it came back")
        assert running.stop(signal.SIGKILL) == -signal.SIGKILL
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        starts = [word["start"] for row in rows for word in row["words"] if "screen" in word["word"]]
        assert len(starts) == 2
        assert starts[1] - starts[0] > 2
        assert words_of("".join(row["text"] for row in rows)) == words_of(running.out)
        assert "PaAlsa" not in running.err


def test_without_the_device_it_is_one_line_and_status_2() -> None:
    command = [sys.executable, "-m", "streaming.cli", "listen", *FAST, "--device", "no such microphone"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert re.match(
        r"simul-whisper: (there is no microphone|no input device|microphones and loudspeakers need PortAudio)", line
    )


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("import ctypes.util; ctypes.util.find_library = lambda name: None", "apt install libportaudio2"),
        ("import sys; sys.modules['sounddevice'] = None", "pip install"),
    ],
)
def test_without_portaudio_it_is_one_line_and_status_2(broken: str, said: str) -> None:
    program = f"{broken}\nfrom streaming.cli import main\nraise SystemExit(main(['listen']))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("simul-whisper: microphones and loudspeakers need")
    assert said in line


def test_the_devices_are_listed(microphone: VirtualMicrophone) -> None:
    command = [sys.executable, "-m", "streaming.cli", "listen", "--list-devices"]
    listed = subprocess.run(command, env=microphone.environment, capture_output=True, text=True, check=True)
    assert re.search(r"^\* +\d+ default ", listed.stdout, re.MULTILINE)
    assert listed.stderr == ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--vad-silence", "99"], "vad_silence"),
        (["--padding-len", "-1"], "padding_len"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--to", "klingon"], "got language 'klingon'"),
        (["--to", "en", "--translate"], "writes English already"),
        (["--to", "es", "--format", "srt"], "give --output FILE"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
