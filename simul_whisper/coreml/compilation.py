"""Compilation for this device, in a child process that can be stopped, and a note of what came of it.

The system keeps what it has compiled for a path and a choice of units, and tells nobody; so we keep a note.
`python -m simul_whisper.coreml.compilation RUNTIME PATH UNITS DIRECTORY` is the child.
"""

import atexit
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import IO

from simul_whisper.coreml.description import Description
from simul_whisper.coreml.locate import coreml_cache
from simul_whisper.coreml.runtime import CoreMLRuntime, runtime_of
from simul_whisper.errors import EncoderNotLoadedError
from simul_whisper.weights.cache import whole_file

_POLL_S = 0.05


class CancelledError(EncoderNotLoadedError):
    """The compilation was stopped: nobody waits for it any more."""


def noted_model(found: Description, compute_units: str, runtime: CoreMLRuntime) -> Path | None:
    """Return what to open for a package that this system has compiled, and that was found right; None for others."""
    with suppress(OSError, UnicodeDecodeError):
        noted = Path((_directory(found, compute_units, runtime) / "model").read_text("utf-8"))
        return noted if noted.exists() else None
    return None


def note_model(found: Description, compute_units: str, runtime: CoreMLRuntime, model: Path) -> None:
    """Remember what to open. Where nothing can be written, the next start compiles again."""
    with suppress(OSError), whole_file(_directory(found, compute_units, runtime) / "model") as stream:
        stream.write(str(model).encode())


def compile_in_child(runtime: CoreMLRuntime, found: Description, compute_units: str, cancelled: Event) -> Path:
    """Have a child process compile and load the model; return what to open.

    Raises CancelledError soon after `cancelled` is set, and EncoderNotLoadedError when it fails.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        raise EncoderNotLoadedError(
            "compiling for this device needs a Python interpreter, and this program has none; give it a .mlmodelc"
        )
    directory = _directory(found, compute_units, runtime)
    command = [sys.executable, "-m", __name__, runtime.name, str(found.path.resolve()), compute_units, str(directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with (
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=errors, env=environment) as child,
    ):
        # A thread that waits is not told when the program ends.
        atexit.register(child.kill)
        try:
            while child.poll() is None:
                if cancelled.wait(_POLL_S):
                    raise CancelledError(f"{found.path.name}: compilation was stopped")
        finally:
            child.kill()
            atexit.unregister(child.kill)
        if child.returncode:
            reason = _last_line(errors) or f"exit status {child.returncode}"
            raise EncoderNotLoadedError(f"{found.path.name}: {reason}")
        return Path(_last_line(said))


def _last_line(output: IO[bytes]) -> str:
    output.seek(0)
    return (output.read().decode(errors="replace").strip().splitlines() or [""])[-1]


def _directory(found: Description, compute_units: str, runtime: CoreMLRuntime) -> Path:
    key = f"{found.digest} {found.path.resolve()} {compute_units} {runtime.name} {platform.platform()}"
    return coreml_cache() / "compiled" / hashlib.sha256(key.encode()).hexdigest()


def _compile(runtime_name: str, path: str, compute_units: str, directory: str) -> None:
    runtime = runtime_of(runtime_name)
    model = runtime.compiled(Path(path), Path(directory))
    runtime.open(model, compute_units)
    sys.stdout.write(f"\n{model}\n")


if __name__ == "__main__":
    _compile(*sys.argv[1:])
