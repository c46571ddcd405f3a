"""Compilation for this device's Neural Engine, in a child process that can be stopped, and a note that it was done.

The system keeps what it has compiled, for this model and these units; it tells nobody, so that we keep a note.
`python -m simul_whisper.coreml.compilation RUNTIME PATH UNITS` is the child.
"""

import hashlib
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event

from simul_whisper.coreml.description import Description
from simul_whisper.coreml.locate import coreml_cache
from simul_whisper.coreml.runtime import CoreMLRuntime, runtime_of
from simul_whisper.errors import EncoderNotLoadedError
from simul_whisper.weights.cache import whole_file

_POLL_S = 0.05


class CompilationError(EncoderNotLoadedError):
    """The model could not be compiled for this device, or not in time."""


class CancelledError(EncoderNotLoadedError):
    """Somebody no longer wanted it."""


def is_compiled(description: Description, compute_units: str) -> bool:
    """Whether this package was compiled here, for these units, under this version of the system."""
    return _note(description, compute_units).exists()


def note_compiled(description: Description, compute_units: str) -> None:
    with whole_file(_note(description, compute_units)) as stream:
        stream.write(f"{description.path}\n".encode())


def compile_in_child(
    runtime: CoreMLRuntime, path: Path, compute_units: str, timeout_s: float, cancelled: Event
) -> None:
    """Have a child process load the model once. Raises CompilationError, or CancelledError soon after `cancelled`."""
    command = [sys.executable, "-m", __name__, runtime.name, str(path), compute_units]
    deadline = time.monotonic() + timeout_s
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors) as child,
    ):
        try:
            while child.poll() is None:
                if cancelled.wait(_POLL_S):
                    raise CancelledError(f"{path.name}: compilation was cancelled")
                if time.monotonic() > deadline:
                    raise CompilationError(f"{path.name}: got no compiled model within {timeout_s:g} s")
        finally:
            child.kill()
        if child.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise CompilationError(f"{path.name}: {said[-1] if said else f'exit status {child.returncode}'}")


def _note(description: Description, compute_units: str) -> Path:
    key = f"{description.digest} {compute_units} {platform.platform()}"
    return coreml_cache() / "compiled" / hashlib.sha256(key.encode()).hexdigest()


if __name__ == "__main__":
    runtime_of(sys.argv[1]).open(Path(sys.argv[2]), sys.argv[3])
