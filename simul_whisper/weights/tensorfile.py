"""Files of named tensors, safetensors or npz, read with MLX."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.errors import WeightsError


def read_tensors(file: Path) -> dict[str, mx.array]:
    """Return the tensors of a file. Raises WeightsError when it is missing, truncated or damaged."""
    try:
        found = mx.load(str(file))
        assert isinstance(found, dict)
        mx.eval(found)
    except (OSError, RuntimeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{file}: cannot be read: {error}") from error
    return found


def as_numpy(tensor: mx.array) -> NDArray[Any]:
    """Return a tensor as NumPy sees it; bfloat16, which NumPy has not, as float32."""
    return np.asarray(tensor.astype(mx.float32) if tensor.dtype == mx.bfloat16 else tensor)
