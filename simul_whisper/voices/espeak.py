"""Phonemes by espeak-ng, which reads numbers and abbreviations too. It is called as a program, never linked: its
licence is the GPL.

Text comes from strangers: it goes in by a pipe, and can be no option, no file and no markup.
"""

import os
import re
import shutil
import signal
import subprocess
import threading
import unicodedata
from contextlib import suppress

from simul_whisper.errors import BackendError, VoiceError
from simul_whisper.foreign_files import shown

_PROGRAM = "espeak-ng"
_INSTALL = "on Debian: apt install espeak-ng; on macOS: brew install espeak-ng"
# What it needs to be found and to run; secrets may stand in the rest.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ESPEAK_DATA_PATH")
_TIMEOUT_S = 10.0
_MOST_CHARACTERS = 2_000
_MOST_BYTES = 1 << 18
# Not a path, not an option, not a variant of a voice that is a file.
_VOICE = re.compile(r"[a-z]{2,4}(-[a-z0-9]{1,12}){0,4}")
# The full stop of "Dr." and of a number are no ends; those of other scripts stand before no space.
_CLAUSE = re.compile(r"([^,;:!?…—、。，；：！？،؛؟।]|[,:](?=\S))+|.", re.DOTALL)
_STOPS = dict(zip("、。，；：！？،؛؟।", ",.,;:!?,;?.", strict=True)) | {each: each for each in ",;:!?…—"}
_CLOSERS = "\"'”’»› "
_DASH = re.compile(r"\s+[-–]+\s+")
# Double brackets would steer the program; parentheses are how it tells a change of language.
_STEERS = re.compile(r"[\[\]{}()<>|\\^_~\x00-\x1f]")
_SWITCH = re.compile(r"\([a-z]{2,4}(-[a-z0-9]+)*\)")


def program() -> str:
    """Return the path of espeak-ng. Raises BackendError, which says how to install it."""
    found = shutil.which(_PROGRAM)
    if found is None:
        raise BackendError(f"voices need the program {_PROGRAM}, which is not installed; {_INSTALL}")
    return os.path.abspath(found)  # noqa: PTH100  # It is run elsewhere; links stay, for some programs go by them.


class Espeak:
    """One of espeak-ng's voices, such as en-us. Raises BackendError where the program or its voice is missing."""

    def __init__(self, voice: str) -> None:
        if not _VOICE.fullmatch(voice):
            raise BackendError(f"got the espeak-ng voice {shown(voice)}, expected a name such as en-us")
        self._command = [program(), "-q", "--ipa", "-b", "1", "-v", voice, "--stdin"]
        try:
            self._said("1")
        except VoiceError as error:
            raise BackendError(f"espeak-ng cannot read with its voice {voice}: {error}") from error

    def phonemes(self, text: str) -> str:
        """Return what is spoken, in IPA (NFD), words separated by spaces, the punctuation , . ; : ! ? … — kept.

        Raises VoiceError when the program fails, or does not answer in time.
        """
        if len(text) > _MOST_CHARACTERS:
            raise VoiceError(f"got a phrase of {len(text)} characters, expected at most {_MOST_CHARACTERS}")
        plain = " ".join(_DASH.sub(", ", _STEERS.sub(" ", text)).split())
        plain = re.sub(r"\.+$", ".", plain.rstrip(_CLOSERS))
        said = ""
        for clause in _CLAUSE.finditer(plain):
            part = clause.group()
            if stop := _STOPS.get(part):
                said += stop if said and not said.endswith(tuple(_STOPS)) else ""
            elif ipa := self._said(part):
                said += f" {ipa}" if said else ipa
        return said + "." if plain.endswith(".") and said and not said.endswith(tuple(_STOPS)) else said

    def _said(self, clause: str) -> str:
        if not any(character.isalnum() for character in clause):
            return ""
        # What it takes for several clauses it says in several lines.
        return " ".join(unicodedata.normalize("NFD", _SWITCH.sub("", _answer(self._command, clause))).split())


def _answer(command: list[str], text: str) -> str:
    """Return what the program says to a text. Raises VoiceError."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise VoiceError(f"espeak-ng does not start: {error.strerror}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    watch = threading.Timer(_TIMEOUT_S, _kill, [process])
    try:
        watch.start()
        with suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(text.encode(errors="replace"))
        said = process.stdout.read(_MOST_BYTES + 1)
        is_whole = len(said) <= _MOST_BYTES
        status = process.wait() if is_whole else None
    finally:
        watch.cancel()
        _kill(process)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    if status == -signal.SIGKILL:
        raise VoiceError(f"espeak-ng did not answer within {_TIMEOUT_S:g} s, and was stopped")
    if status != 0:
        raise VoiceError(f"espeak-ng failed: exit status {status}" if is_whole else "espeak-ng said far too much")
    return said.decode(errors="replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and what it has called, which would hold the pipe; nothing, once it was waited for."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
