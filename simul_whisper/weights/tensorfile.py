"""Files of named tensors, safetensors or npz. Everything in them is checked before memory is taken for it."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line
from simul_whisper.weights.npz import read_npz
from simul_whisper.weights.safetensors import read_safetensors


def read_tensors(file: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file, bfloat16 as float32; those of safetensors stay in the mapped file.

    At most eight times the size of an .npz is allocated, and twice that of a safetensors. Raises WeightsError when it
    is missing, truncated or damaged.
    """
    try:
        return read_npz(file) if file.suffix == ".npz" else read_safetensors(file)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: cannot be read: {one_line(error)}; fetch or convert the model again") from error
