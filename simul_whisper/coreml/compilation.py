"""Compilation for this device, in a child process that can be stopped, and a note of what came of it.

The system keeps what it has compiled for a path and a choice of units, and tells nobody; so we keep a note. The child
also makes a prediction: what was compiled for the Neural Engine and loaded may still kill the process that first uses
it (apple/coremltools issue 2758). `python -m simul_whisper.coreml.compilation RUNTIME UNITS DIRECTORY PATH...` is it.
Of packages that belong together, the first one stands for all; the others are found beside it.
"""

import atexit
import hashlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.description import Description, Feature, describe
from simul_whisper.coreml.locate import coreml_cache
from simul_whisper.coreml.runtime import CoreMLRuntime, CoreMLState, runtime_of
from simul_whisper.errors import CoreMLNotLoadedError
from simul_whisper.weights.cache import whole_file

_POLL_S = 0.05
# Columns of mel in a window of 30 s, which is the largest size that any input of Whisper has in one dimension.
_LONGEST = 3000
# Python's exit status after an exception, whose message is the last line.
_RAISED = 1


class CancelledError(CoreMLNotLoadedError):
    """The compilation was stopped: nobody waits for it any more."""


def noted_model(packages: Sequence[Description], compute_units: str, runtime: CoreMLRuntime) -> Path | None:
    """Return what to open for packages that this system has compiled, and that were found right; None for others."""
    with suppress(OSError, UnicodeDecodeError):
        noted = Path((_directory(packages, compute_units, runtime) / "model").read_text("utf-8"))
        # Systems empty caches, and not always all of them.
        needed = (noted, *(noted.with_name(each.path.stem + noted.suffix) for each in packages[1:]))
        return noted if all(model.exists() for model in needed) else None
    return None


def note_model(packages: Sequence[Description], compute_units: str, runtime: CoreMLRuntime, model: Path) -> None:
    """Remember what to open. Where nothing can be written, the next start compiles again."""
    with suppress(OSError), whole_file(_directory(packages, compute_units, runtime) / "model") as stream:
        stream.write(str(model).encode())


def compile_in_child(
    runtime: CoreMLRuntime, packages: Sequence[Description], compute_units: str, cancelled: Event
) -> Path:
    """Have a child process compile and load the models and make a prediction with each; return what to open.

    Raises CancelledError soon after `cancelled` is set, and CoreMLNotLoadedError when it fails.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        raise CoreMLNotLoadedError(
            "compiling for this device needs a Python interpreter, and this program has none; give it a .mlmodelc"
        )
    directory, paths = _directory(packages, compute_units, runtime), [str(each.path.resolve()) for each in packages]
    command = [sys.executable, "-m", __name__, runtime.name, compute_units, str(directory), *paths]
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
                    raise CancelledError(f"{packages[0].path.name}: compilation was stopped")
        finally:
            child.kill()
            atexit.unregister(child.kill)
        if child.returncode:
            reason = _end_of(child.returncode, _last_line(errors))
            raise CoreMLNotLoadedError(f"{packages[0].path.name}: {reason}")
        return Path(_last_line(said))


def _end_of(status: int, last_line: str) -> str:
    """Return what ended a process, for people. A status below zero is that of a signal."""
    if status == _RAISED and last_line:
        return last_line
    how = f"ended with exit status {status}"
    if status < 0:
        how = f"was killed by signal {-status} ({signal.strsignal(-status)})"
    said = f"; the last it said was: {last_line}" if last_line else ""
    return f"the process that compiled and tried it {how}{said}"


def _last_line(output: IO[bytes]) -> str:
    output.seek(0)
    return (output.read().decode(errors="replace").strip().splitlines() or [""])[-1]


def _directory(packages: Sequence[Description], compute_units: str, runtime: CoreMLRuntime) -> Path:
    models = " ".join(f"{each.digest} {each.path.resolve()}" for each in packages)
    key = f"{models} {compute_units} {runtime.name} {platform.platform()}"
    return coreml_cache() / "compiled" / hashlib.sha256(key.encode()).hexdigest()


def _compile(runtime_name: str, compute_units: str, directory: str, *paths: str) -> None:
    runtime = runtime_of(runtime_name)
    models = [runtime.compiled(Path(path), Path(directory)) for path in paths]
    for path, model in zip(paths, models, strict=True):
        _try(runtime, describe(Path(path)), model, compute_units)
    sys.stdout.write(f"\n{models[0]}\n")


def _try(runtime: CoreMLRuntime, found: Description, model: Path, compute_units: str) -> None:
    """Make a prediction with each function, of zeros, and with one state for all, as decoders do."""
    state: CoreMLState | None = None
    for function in found.functions or (found.function(),):
        opened = runtime.open(model, compute_units, function.name if found.functions else "")
        if function.states and state is None:
            state = opened.make_state()
        opened.predict({each.name: _zeros(each) for each in function.inputs}, state)


def _zeros(feature: Feature) -> NDArray[Any]:
    """Return an input of the default shape; of a range, whose default may be too short for anything, the longest."""
    if feature.ranges:
        longest = (max(least, min(most or _LONGEST, _LONGEST)) for least, most in feature.ranges)
        return np.zeros(tuple(longest), feature.dtype)
    return np.zeros(feature.shapes[0] if feature.shapes else (), feature.dtype)


if __name__ == "__main__":
    _compile(*sys.argv[1:])
