"""Whether a package's weights are those of a model, told by their bytes, since published packages do not say.

Compared are the six large matrices of each block. WhisperKit's and whisper.cpp's packages hold them as the checkpoint
does: float16, one row for each output. Only a query's may be multiplied by the scale of the scores, into which
coremltools folds it. A model that was trained further shares many of its matrices, those it was not trained in, so all
must be found; a package of compressed weights holds none, and says nothing.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.blob import BlobFile
from simul_whisper.weights.model import Dims, Weights

_MATRICES = ("attn.query", "attn.key", "attn.value", "attn.out", "mlp1", "mlp2")
# In an `.mlmodelc`, and in an `.mlpackage`.
_WEIGHTS = Path("weights") / "weight.bin"
_FOLDERS = (Path(), Path("Data") / "com.apple.CoreML")


@dataclass(frozen=True)
class Comparison:
    """n_found: how many of a model's n_matrices the package holds. can_tell: it holds weights that were not compressed.

    A package whose weights were compressed in part tells only when it holds all of them.
    """

    n_matrices: int
    n_found: int
    can_tell: bool

    @property
    def are_same(self) -> bool:
        return self.n_found == self.n_matrices


def compare_encoders(package: Path, weights: Weights) -> Comparison:
    """Look for the matrices of a model's encoder in an encoder's package. Raises WeightsError when it is damaged.

    weights: such as were not quantized.
    """
    dims = weights.dims
    names = [f"encoder.blocks.{layer}.{each}.weight" for layer in range(dims.n_audio_layer) for each in _MATRICES]
    sizes = {weights.tensors[name].size for name in names}
    held = set[bytes]()
    n_compressed = 0
    for kind, raw in _weight_file(package).all_raw():
        if kind == "other":
            n_compressed += len(raw) >= min(sizes) // 8  # A bit for each number, at least.
        elif len(raw) / np.dtype(kind).itemsize in sizes:
            held.add(_digest(raw.view(kind)))
    n_found = sum(any(_digest(form) in held for form in _forms(weights.tensors[name], name, dims)) for name in names)
    return Comparison(len(names), n_found, can_tell=n_found == len(names) or not n_compressed)


def _forms(matrix: NDArray[Any], name: str, dims: Dims) -> Iterator[NDArray[Any]]:
    """Yield what may stand for a matrix in a package."""
    yield matrix
    if name.endswith("query.weight"):
        scale = (dims.n_audio_state // dims.n_audio_head) ** -0.5
        yield matrix.astype(np.float32) * np.float32(scale)


def _digest(matrix: NDArray[Any]) -> bytes:
    with np.errstate(over="ignore"):
        return hashlib.sha256(np.ascontiguousarray(matrix, np.float16).data).digest()


def _weight_file(package: Path) -> BlobFile:
    places = [package / folder / _WEIGHTS for folder in _FOLDERS]
    return BlobFile(next((place for place in places if place.exists()), places[0]))
