"""The processes in which Apertium translates one pair of languages, kept running: 4 ms a sentence instead of 120.

The program `apertium` cannot be kept running (with `-z`, version 3.8.3 is silent until its input is over), but what it
runs can: the commands of a mode. They take a sentence, with a null byte at its end, and answer in the same way.
"""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO

from simul_whisper.errors import TranslationError
from simul_whisper.foreign_files import one_line

# What its commands need to be found and to run; secrets may stand in the rest.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# One that every such system has and that reads UTF-8.
_LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
_START_TIMEOUT_S = 10.0
# A pipe takes so much at once, before anybody reads it.
_MOST_CHARACTERS = 2_000
_MOST_ANSWER_BYTES = 1 << 16
_MOST_COMPLAINT_BYTES = 1 << 12
_STEERS = re.compile(r"[\\^$/<>{}\[\]@]")
_ESCAPED_OR_BRACKET = re.compile(r"\\(.)|[\[\]]", re.DOTALL)


class ApertiumPipe:
    """mode: the file of a pair of languages. Begun with the first sentence; after a failure with the next one again."""

    def __init__(self, mode: Path) -> None:
        self._mode = mode
        self._lock = threading.Lock()
        self._processes: _Processes | None = None

    def translated(self, text: str, timeout_s: float) -> str:
        """Return the translation of a text, in one line; from any thread. Raises TranslationError."""
        deadline = time.monotonic() + timeout_s
        # A character that ends or steers the stream would cost the words after it.
        line = _one_line(text)
        if len(line) > _MOST_CHARACTERS:
            raise TranslationError(f"got a sentence of {len(line)} characters, expected at most {_MOST_CHARACTERS}")
        if not line:
            return ""
        if not self._lock.acquire(timeout=timeout_s):
            raise TranslationError("apertium is busy with other sentences")
        try:
            self._processes = self._processes or _Processes(self._mode)
            answer = _plain(self._processes.answer(_stream(line), deadline))
        except BaseException:
            # What it still has to say belongs to this sentence, not to the next.
            self._stop()
            raise
        finally:
            self._lock.release()
        if not answer:
            raise TranslationError("apertium gave no translation")
        return answer

    def _stop(self) -> None:
        if self._processes is not None:
            self._processes.stop()
        self._processes = None


def _stream(line: str) -> bytes:
    """Return a line in Apertium's stream format, as `apertium-destxt` writes it: with an end of a sentence after it."""
    escaped = _STEERS.sub(lambda sign: f"\\{sign.group()}", line).replace("~", "[~]")
    return f"{escaped}.[][\n]\0".encode(errors="replace")


def _plain(answer: bytes) -> str:
    """Return the line that an answer in Apertium's stream format says, without the end that `_stream` put there."""
    text = _ESCAPED_OR_BRACKET.sub(lambda found: found.group(1) or "", answer.decode(errors="replace"))
    return _one_line(text.rstrip().removesuffix("."))


def _one_line(text: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


class _Processes:
    """A shell and the commands of a mode, in a group of their own, which ends with it and with its input."""

    def __init__(self, mode: Path) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        shell, writer = shutil.which("bash"), shutil.which("apertium-wblank-mode")
        if shell is None or writer is None:
            raise TranslationError("expected bash and Apertium 3.8 or newer, with its program apertium-wblank-mode")
        environment["LC_ALL"] = _LOCALE
        commands = _commands([writer, "-z", str(mode)], environment)
        # Its parameters, as in `apertium -u`: unknown words without an asterisk, and no ambiguity shown.
        self._process = _started([shell, "-c", commands, "apertium", "-n", ""], environment)
        self.stop = weakref.finalize(self, _end, self._process)

    def answer(self, question: bytes, deadline: float) -> bytes:
        """Return what it says up to a null byte. Raises TranslationError when it ends, or does not come to one."""
        process, said, complaints = self._process, bytearray(), bytearray()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with suppress(BrokenPipeError):
            process.stdin.write(question)
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, said)
            selector.register(process.stderr, selectors.EVENT_READ, complaints)
            while b"\0" not in said:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TranslationError("apertium did not answer in time, and was stopped")
                for key, _ in ready:
                    piece = os.read(key.fd, 1 << 12)
                    key.data.extend(piece)
                    if not piece:
                        selector.unregister(key.fd)
                    if not piece and key.data is said:
                        raise TranslationError(f"apertium has ended{_reason(complaints + _rest(process.stderr))}")
                if len(said) > _MOST_ANSWER_BYTES:
                    raise TranslationError(f"apertium said more than {_MOST_ANSWER_BYTES} bytes for one sentence")
                del complaints[:-_MOST_COMPLAINT_BYTES]
        answer, _, more = bytes(said).partition(b"\0")
        if more:
            raise TranslationError("apertium answered more than it was asked")
        return answer


def _commands(writer: list[str], environment: dict[str, str]) -> str:
    """Return what a mode runs, each of it told to answer at every null byte, for a shell."""
    name = Path(writer[0]).name
    try:
        written = subprocess.run(
            writer,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except OSError as error:
        raise TranslationError(f"{name} does not start: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise TranslationError(f"{name} did not answer in time") from error
    if written.returncode:
        raise TranslationError(f"{name} failed: exit status {written.returncode}{_reason(written.stderr)}")
    return written.stdout.decode(errors="replace")


def _started(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Return a running process, in a session of its own: killed as one, and not by Ctrl-C in our terminal."""
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=environment,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise TranslationError(f"apertium does not start: {error.strerror}") from error


def _rest(stream: IO[bytes]) -> bytes:
    """Return what can be read of a stream without waiting."""
    os.set_blocking(stream.fileno(), False)
    with suppress(BlockingIOError):
        return os.read(stream.fileno(), _MOST_COMPLAINT_BYTES)
    return b""


def _reason(complaints: bytes | bytearray) -> str:
    lines = complaints.decode(errors="replace").strip().splitlines()
    return f": {one_line(lines[-1])}" if lines else ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill what was started together."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()
