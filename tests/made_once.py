"""Files that take seconds to make are made once in a run, whichever of its processes needs them first."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """Return what `make` has put into a folder of this name, and which nobody changes."""
    root = folders.getbasetemp()
    # Each process has a folder in that of the run.
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    found = root / f"{name}.path"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            (root / name).mkdir(exist_ok=True)
            found.write_text(str(make(root / name)), "utf-8")
    return Path(found.read_text("utf-8"))
