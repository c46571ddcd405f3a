"""Packages put in place whole or not at all, with what they say of themselves, and on macOS compiled.

Knows nothing of the network.
"""

import errno
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simul_whisper.coreml.conversion import Precision
from simul_whisper.coreml.runtime import COMPILED_SUFFIX
from simul_whisper.errors import BackendError, ConfigError
from simul_whisper.foreign_files import one_line
from simul_whisper.weights.model import Tensors

_LICENSE = "That of the weights it was made from"


@dataclass(frozen=True)
class Converted:
    """path: the package. linked_to: the older package that it is a link to; None when it was made anew.

    compiled: the .mlmodelc beside it; None where there is no Core ML to compile with. size_bytes: of all packages.
    beside: a decoder's packages of its other functions, each followed by what was compiled from it.
    psnr_db: how near to MLX its answers are, if compressed weights were written; else None.
    """

    path: Path
    linked_to: Path | None
    compiled: Path | None
    duration_s: float
    size_bytes: int
    beside: tuple[Path, ...] = ()
    psnr_db: float | None = None


def require_coremltools() -> None:
    """Raise BackendError without coremltools."""
    if importlib.util.find_spec("coremltools") is None:
        raise BackendError(
            "coremltools is not installed; pip install 'simul-whisper[coreml]', on macOS or on Linux x86-64"
        )


def digest_of(tensors: Tensors, parts: Collection[str], sizes: str, precision: Precision) -> str:
    """Return the sha256, in hex, of what parts of a model compute: their sizes, and their tensors in this precision.

    Names in order, each with its shape and its values in C order, little-endian. Other parts do not count, nor does
    the file's format.
    """
    digest = hashlib.sha256(f"{sizes}\n".encode())
    for name in sorted(name for name in tensors if name.partition(".")[0] in parts):
        tensor = tensors[name]
        digest.update(f"{name} {' '.join(map(str, tensor.shape))}\n".encode())
        digest.update(np.ascontiguousarray(tensor, np.dtype(precision).newbyteorder("<")).data)
    return digest.hexdigest()


@contextmanager
def folder_in(directory: Path) -> Iterator[Path]:
    """Make the directory, and in it a folder for what is not whole yet. Raises ConfigError for OSError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".converting.") as folder:
            yield Path(folder)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Return why nothing could be written. When it copies folders, the reason is at the end of a list of paths."""
    reason = error.strerror or str(error)
    if isinstance(error, shutil.Error):
        reason = one_line(error.args[0][-1][-1]).split(":")[0]
    if os.strerror(errno.ENOSPC) in reason:
        return f"{reason}; make room there and in {tempfile.gettempdir()}"
    return reason


def save(
    model: Any, package: Path, description: str, metadata: dict[str, str], made_from: str, weights_sha256: str
) -> None:
    """Write a coremltools MLModel, and what it was made from: the model's name, and the digest of its file."""
    model.short_description, model.author, model.license = description, "simul-whisper", _LICENSE
    model.version = _version("simul-whisper")
    model.user_defined_metadata.update(
        metadata
        | {
            "model": made_from,
            "weights_sha256": weights_sha256,
            "simul_whisper_version": _version("simul-whisper"),
            "coremltools_version": _version("coremltools"),
        }
    )
    model.save(str(package))


def clear(package: Path) -> None:
    """Remove a package, if there is one, and what was compiled from it, which must not be taken for a new one's."""
    for path in (package, package.with_suffix(COMPILED_SUFFIX)):
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)


def compiled(package: Path) -> Path | None:
    """Compile the package and return what is beside it then; None where there is no Core ML. Raises BackendError."""
    if sys.platform != "darwin":
        return None
    from coremltools.models.utils import compile_model

    target = package.with_suffix(COMPILED_SUFFIX)
    try:
        compile_model(str(package.resolve()), str(target))
    # What coremltools raises is documented nowhere; without its bridge to Core ML, a plain Exception.
    except Exception as error:
        raise BackendError(f"{package} was written, but Core ML cannot compile it: {error}") from error
    return target


def _version(distribution: str) -> str:
    """Return the installed version; "unknown" when it runs from a checkout."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
