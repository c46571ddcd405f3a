"""Runs whisper.cpp's own program, `whisper-cli`, on a recording, and returns what it has understood as events.

It streams nothing: events come when it has finished. Whether it was built with Core ML is its own matter.
"""

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendError, as_s16
from streaming.engines.whisper_json import read_transcription
from streaming.events import Event, Language, Recognised, Words

# The second is what Homebrew and PyPI have called it.
PROGRAMS = ("whisper-cli", "whisper-cpp")
_PROGRESS = re.compile(rb"progress = +(\d{1,3})%")
_COMPLAINT = re.compile(r"\b(error|failed|invalid|unknown)\b", re.IGNORECASE)
_MOST_LINE_BYTES, _MOST_SHOWN = 4096, 200
# What a WAV header can say, less itself.
_MOST_SAMPLES = (2**32 - 64) // 2
# Many times what speech takes, with 250 bytes for a token.
_MOST_JSON_BYTES, _MOST_JSON_BYTES_PER_S = 1 << 20, 16 << 10


@dataclass(frozen=True)
class Asked:
    """What whisper-cli is asked for. language: a Whisper code, or auto; n_beams: None for its own choice."""

    language: str = "auto"
    is_translated: bool = False
    prompt: str = ""
    n_beams: int | None = None


@contextmanager
def wav_file(path: Path) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Give what writes float32 (n,) in [-1, 1], mono, 16 kHz, into a file, in 16 bits. Raises BackendError."""
    n_samples = 0

    def write(samples: NDArray[np.float32]) -> None:
        nonlocal n_samples
        n_samples += len(samples)
        if n_samples > _MOST_SAMPLES:
            raise BackendError(f"whisper.cpp takes at most {_MOST_SAMPLES // SAMPLE_RATE // 3600} hours of audio")
        file.write(as_s16(samples).tobytes())

    try:
        with path.open("wb") as file:
            file.write(_wav_header(0))
            yield write
            file.seek(0)
            file.write(_wav_header(n_samples))
    except OSError as error:
        raise BackendError(f"{path}: cannot be written: {error.strerror}") from error


def _wav_header(n_samples: int) -> bytes:
    coding = struct.pack("<4sI2H2I2H", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    data = struct.pack("<4sI", b"data", 2 * n_samples)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(coding) + len(data) + 2 * n_samples, b"WAVE") + coding + data


class WhisperCli:
    """program: as people call it, or a path. Raises BackendError when it, or the model, is not there."""

    def __init__(self, program: str, model: str) -> None:
        found = next(filter(None, map(shutil.which, [program] if program else PROGRAMS)), None)
        if found is None:
            raise BackendError(
                f"{program or PROGRAMS[0]}: no program that can be run; install whisper.cpp (brew install "
                "whisper-cpp, or build https://github.com/ggml-org/whisper.cpp), and say where it is with --engine-path"
            )
        if not _is_file(Path(model)):
            raise BackendError(f"{model}: no such file; expected a model of whisper.cpp, ggml-*.bin")
        self.name, self._program, self._model = Path(found).name, found, model

    def run(self, audio: Path, asked: Asked) -> Iterator[int]:
        """Have it write what it understands of a WAV file beside it; yield how much is done, in percent.

        Whoever stops taking, stops it. Raises BackendError when it fails.
        """
        command = [self._program, "--model", self._model, "--file", str(audio), "--language", asked.language]
        command += ["--translate"] if asked.is_translated else []
        command += ["--prompt", asked.prompt] if asked.prompt else []
        command += ["--beam-size", str(asked.n_beams)] if asked.n_beams else []
        command += ["--output-json-full", "--output-file", str(audio.with_suffix("")), "--print-progress"]
        reason = ""
        with self._started(command) as process:
            assert process.stderr is not None
            try:
                for line in iter(partial(process.stderr.readline, _MOST_LINE_BYTES), b""):
                    if found := _PROGRESS.search(line):
                        yield min(int(found[1]), 100)
                    elif _COMPLAINT.search(said := line.decode(errors="replace").strip()):
                        reason = said
                process.wait()
            finally:
                process.kill()
        # It ends well, too, when it does not know a flag or cannot read the audio.
        if process.returncode or not audio.with_suffix(".json").is_file():
            ended = f"exit status {process.returncode}" if process.returncode else "it wrote no JSON"
            raise BackendError(f"{self.name} failed: {ended}{_shown(reason)}")

    def events(self, audio: Path, audio_s: float, asked: Asked) -> list[Event]:
        """Return what it has written of a WAV file that is so long, to the last event. Raises BackendError."""
        most_bytes = _MOST_JSON_BYTES + round(_MOST_JSON_BYTES_PER_S * audio_s)
        with audio.with_suffix(".json").open("rb") as stream:
            content = stream.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise BackendError(f"{self.name} wrote more than {most_bytes} bytes of JSON for {audio_s:.0f} s of audio")
        found = read_transcription(content, audio_s, is_translated=asked.is_translated)
        if not found.is_multilingual and (asked.is_translated or asked.language not in ("auto", "en")):
            raise BackendError(
                f"{self._model} can only transcribe English; use a multilingual model, such as ggml-base.bin"
            )
        words = [Words(passage, audio_s) for passage in found.passages]
        return [Language(found.language), *words, Recognised(audio_s)]

    def _started(self, command: list[str]) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except (OSError, ValueError) as error:  # a prompt may be too long, or hold a null character
            raise BackendError(f"{self.name} does not start: {getattr(error, 'strerror', error)}") from error


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # a name may be too long
        return path.is_file()
    return False


def _shown(reason: str) -> str:
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in reason)
    return f": {line[:_MOST_SHOWN]}" if line else ""
