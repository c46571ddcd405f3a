"""MLX with a fast BLAS: import `mx` from here, never from `mlx.core`.

On Linux the MLX wheel links the reference BLAS, 30 to 100 times slower than OpenBLAS at float32 products. A symbol
that is already loaded globally wins over the one in a library's own dependency, so OpenBLAS is loaded before MLX is.
On macOS MLX uses Accelerate or Metal, and nothing is done here.
"""

import ctypes
import sys
import tempfile
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from simul_whisper.errors import BackendError


def _files_of(package: str, beginning: str) -> list[Path]:
    """Files of an installed package whose names begin so."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return []
    return sorted(Path(str(file.locate())) for file in files if file.name.startswith(beginning))


def _load(library: Path | str) -> bool:
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def _load_fortran_runtime() -> bool:
    """Load MLX's own copy of libgfortran under its usual name, which OpenBLAS asks for and few machines have.

    Wheels carry it under a longer name; that name, inside the library, is shortened in a copy.
    """
    for quadmath in _files_of("mlx-cpu", "libquadmath"):
        _load(quadmath)
    for bundled in _files_of("mlx-cpu", "libgfortran"):
        long_name = bundled.name.encode() + b"\0"
        renamed = bundled.read_bytes().replace(long_name, b"libgfortran.so.5".ljust(len(long_name), b"\0"))
        with tempfile.NamedTemporaryFile(prefix="libgfortran-") as file:
            file.write(renamed)
            file.flush()
            if _load(file.name):
                return True
    return False


def _load_openblas() -> str:
    """Return where OpenBLAS was loaded from, or "" when there is none."""
    for library in _files_of("cmeel-openblas", "libopenblas.so.0"):
        if _load(library) or (_load_fortran_runtime() and _load(library)):
            return str(library)
    return "libopenblas.so.0" if _load("libopenblas.so.0") else ""


def _prepare() -> str:
    if sys.platform != "linux":
        return "native"
    if "mlx.core" in sys.modules:
        warnings.warn(
            "mlx was imported before the engine, so it may run with a BLAS that is 30 times slower; "
            "import load_model or PaddedAlignAttWhisper from simul_whisper first",
            RuntimeWarning,
            stacklevel=3,
        )
        return "unknown"
    return _load_openblas() or "reference"


BLAS = _prepare()
"""The BLAS in use: a library's path, "native" (macOS), "reference" (slow) or "unknown"."""

try:
    import mlx.core as mx  # the order is what this module is for
except ImportError as error:
    raise BackendError(
        f"MLX cannot be used: {error}; on Linux, pip install 'simul-whisper[cpu]', or simul-whisper[cuda] for NVIDIA"
    ) from error

if BLAS == "reference":
    warnings.warn(
        "no OpenBLAS was found, so decoding on the CPU is 30 times slower; "
        "pip install 'simul-whisper[cpu]', or install your system's libopenblas",
        RuntimeWarning,
        stacklevel=2,
    )


def release_thread() -> None:
    """Give back what MLX keeps for the calling thread; the thread's last use of any model.

    Every thread but the main one that has used a model calls it before it ends. Otherwise MLX gives back by itself
    while the thread is torn down, for which it needs Python, and a program that exits just then is aborted.
    """
    # Before this function, MLX kept nothing that needs it.
    if hasattr(mx, "clear_streams"):
        mx.clear_streams()


__all__ = ["BLAS", "mx", "release_thread"]
