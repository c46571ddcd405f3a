"""A Voxtral's encoder, with its projector if asked for, as a safetensors file of its own, under Hugging Face's names.

Tensors go from file to file one by one, in the numbers that the model has: bfloat16 stays bfloat16.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import ConfigError
from simul_whisper.network import sinusoids
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.voxtral.checkpoint import VoxtralWeights
from simul_whisper.voxtral.conversion import VoxtralPart
from simul_whisper.voxtral.dims import encoder_shapes, projector_shapes
from simul_whisper.voxtral.expanded import ExpandedTensors
from simul_whisper.voxtral.names import huggingface_name
from simul_whisper.voxtral.stored import LazyTensors
from simul_whisper.weights.cache import whole_file

_POSITIONS = "audio_tower.embed_positions.weight"
_ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
_ALIGNMENT = 8
# Dimensions of its weight.
_CONVOLUTION = 3


@dataclass(frozen=True)
class _Entry:
    """A tensor of the file. dtype: as the format names it. read: gives it, in that type and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]

    @property
    def n_bytes(self) -> int:
        return _ITEM_BYTES[self.dtype] * math.prod(self.shape)


def extract(
    weights: VoxtralWeights, file: Path, part: VoxtralPart = "encoder", progress: ProgressHandler = silent
) -> int:
    """Write the weights of a part into `file`, which appears when it is whole, and return its size in bytes.

    Matrices in fewer bits are expanded to float16. Raises ConfigError when it cannot be written, WeightsError when the
    model cannot be read.
    """
    if file.is_dir():
        raise ConfigError(f"{file}: this is a directory; expected the name of a file to write")
    entries = list(_entries(weights, part))
    try:
        with whole_file(file) as stream:
            stream.write(_header(entries))
            for index, entry in enumerate(entries):
                progress(Progress(Stage.CONVERTING, "the tensors", index, len(entries)))
                stream.write(np.ascontiguousarray(entry.read()).data)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror or error}") from error
    return file.stat().st_size


def _entries(weights: VoxtralWeights, part: VoxtralPart) -> Iterator[_Entry]:
    """Yield the tensors in the order of the file, which is the same whatever layout they come from."""
    dims, expanded = weights.dims, ExpandedTensors(weights, tuple(part.split("+")))
    shapes = encoder_shapes(dims) | projector_shapes(dims)
    for name in sorted(expanded):
        shape = shapes[name]
        if len(shape) == _CONVOLUTION:
            # Ours are (out, kernel, in), as in MLX.
            shape = shape[0], shape[2], shape[1]
        if name.removesuffix(".weight") in weights.packings:
            yield _Entry(huggingface_name(name), "F16", shape, partial(_in_float16, expanded, name))
        else:
            dtype = _dtype(weights.tensors, name, math.prod(shape))
            yield _Entry(huggingface_name(name), dtype, shape, partial(_as_stored, weights.tensors, name))
    positions = (dims.n_audio_ctx, dims.n_audio_state)
    yield _Entry(_POSITIONS, "F32", positions, lambda: np.array(sinusoids(*positions), np.float32))


def _dtype(tensors: LazyTensors, name: str, n: int) -> str:
    """Return the type of the n numbers of a tensor, as the format names it."""
    if tensors.is_bfloat16(name):
        return "BF16"
    return "F16" if tensors.n_bytes(name) == _ITEM_BYTES["F16"] * n else "F32"


def _in_float16(tensors: ExpandedTensors, name: str) -> NDArray[Any]:
    return tensors[name].astype(np.float16)


def _as_stored(tensors: LazyTensors, name: str) -> NDArray[Any]:
    array = tensors.as_stored(name)
    return array.swapaxes(1, 2) if array.ndim == _CONVOLUTION else array


def _header(entries: list[_Entry]) -> bytes:
    """Return the length of the header, and the header; spaces at its end let the tensors begin at a multiple of 8."""
    content: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for entry in entries:
        offsets = [at, at + entry.n_bytes]
        content[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": offsets}
        at += entry.n_bytes
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_ALIGNMENT, "little") + text
