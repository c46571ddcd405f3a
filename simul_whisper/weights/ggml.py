"""Read Whisper from one of whisper.cpp's `ggml-*.bin` files, quantised or not.

The file is little-endian: a magic number, eleven numbers about the model, mel filters, the bytes of each token, then
tensors under OpenAI's names, with their sizes in reverse order. What is not quantised stays in the mapped file, where
it is aligned. Alignment heads are not in the file.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import shown
from simul_whisper.weights.checkpoint import Checkpoint, check_positions
from simul_whisper.weights.ggml_blocks import TYPES, TensorType, dequantised
from simul_whisper.weights.mapped import MappedFile
from simul_whisper.weights.model import Dims, check_dims, expected_shapes

_MAGIC = b"lmgg"
_DIMS = (
    "n_vocab",
    "n_audio_ctx",
    "n_audio_state",
    "n_audio_head",
    "n_audio_layer",
    "n_text_ctx",
    "n_text_state",
    "n_text_head",
    "n_text_layer",
    "n_mels",
)
# The type of most tensors is written together with the version of the blocks: in the first ones scales were float32.
_VERSION_FACTOR, _VERSION = 1000, 2
_MOST_FREQUENCIES = 1 << 12
# In characters of OpenAI's vocabularies: 128.
_MOST_TOKEN_BYTES, _MOST_NAME_BYTES, _MOST_SIZES = 512, 128, 4
_POSITIONS = "encoder.positional_embedding"
_CONVOLUTION = re.compile(r"encoder\.conv[12]\.(weight|bias)")
# Files that converters have written, and nobody has given a name.
_NAMELESS = re.compile(r"model(-f(16|32))?")


def is_ggml_name(name: str) -> bool:
    """Whether a file of this name is one of whisper.cpp's models, if it is a model."""
    return name.startswith("ggml-") and name.endswith(".bin")


def model_name(file: Path) -> str:
    """Return what a file's model is called: base.en-q5_1 for ggml-base.en-q5_1.bin, its folder for ggml-model.bin."""
    name = file.stem.removeprefix("ggml-")
    return file.absolute().parent.name if _NAMELESS.fullmatch(name) else name


def read(file: Path) -> Checkpoint:
    """Read one of whisper.cpp's files. Raises WeightsError when it is damaged or no Whisper model."""
    mapped = MappedFile(file)
    dims, version = _start(file, mapped)
    _skip_filters(file, mapped, dims)
    vocabulary = _vocabulary(file, mapped, dims)
    tensors, shapes, is_quantised = dict[str, NDArray[Any]](), _stored_shapes(dims), False
    while not mapped.is_at_end:
        name, kind = _tensor_start(file, mapped, shapes)
        if name in tensors:
            raise WeightsError(f"{file}: {name} is there twice")
        if kind.is_quantised and version != _VERSION:
            raise WeightsError(
                f"{file}: its {kind.name} blocks are of version {version}, expected {_VERSION}, of May 2023; quantise "
                "the model again"
            )
        tensors[name] = _numbers(mapped, kind, shapes[name])
        is_quantised |= kind.is_quantised
    if _POSITIONS in tensors:
        check_positions(file, dims, tensors.pop(_POSITIONS))
    tensors = {name: _translated(name, tensor) for name, tensor in tensors.items()}
    return Checkpoint(dims, tensors, (), (file,), is_quantised, vocabulary)


def _start(file: Path, mapped: MappedFile) -> tuple[Dims, int]:
    """Return the model's dimensions, and the version of its blocks."""
    magic = mapped.content(len(_MAGIC))
    if magic != _MAGIC:
        raise WeightsError(
            f"{file}: begins with {shown(magic)}, expected {shown(_MAGIC)}, as whisper.cpp's ggml-*.bin do"
        )
    numbers = {name: mapped.number("i") for name in _DIMS}
    dims, kind = Dims(**numbers), mapped.number("i")
    check_dims(str(file), dims)
    return dims, kind // _VERSION_FACTOR


def _skip_filters(file: Path, mapped: MappedFile, dims: Dims) -> None:
    """They are computed by `mel`."""
    n_mels, n_frequencies = mapped.number("i"), mapped.number("i")
    if n_mels != dims.n_mels or not 1 <= n_frequencies <= _MOST_FREQUENCIES:
        raise WeightsError(
            f"{file}: got mel filters of ({n_mels}, {n_frequencies}), expected {dims.n_mels} of at most "
            f"{_MOST_FREQUENCIES} frequencies"
        )
    mapped.skip(4 * n_mels * n_frequencies)


def _vocabulary(file: Path, mapped: MappedFile, dims: Dims) -> tuple[bytes, ...]:
    n_tokens = mapped.number("i")
    if not 0 <= n_tokens <= dims.n_vocab:
        raise WeightsError(f"{file}: got {n_tokens} tokens in its vocabulary, expected at most {dims.n_vocab}")
    return tuple(mapped.content(_length(file, mapped, "a token", _MOST_TOKEN_BYTES)) for _ in range(n_tokens))


def _length(file: Path, mapped: MappedFile, what: str, most: int) -> int:
    length = mapped.number("i")
    if not 0 <= length <= most:
        raise WeightsError(f"{file}: got {what} of {length} bytes, expected at most {most}; it is damaged")
    return length


def _stored_shapes(dims: Dims) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the file's tensors have, in NumPy's order, under our names."""
    shapes = expected_shapes(dims) | {_POSITIONS: (dims.n_audio_ctx, dims.n_audio_state)}
    for name, shape in shapes.items():
        if _CONVOLUTION.fullmatch(name):
            shapes[name] = (shape[0], shape[2], shape[1]) if name.endswith("weight") else (*shape, 1)
    return shapes


def _tensor_start(file: Path, mapped: MappedFile, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, TensorType]:
    """Return our name of the tensor that follows, and its type; its shape is the expected one."""
    n_sizes, length = mapped.number("i"), _length(file, mapped, "a tensor's name", _MOST_NAME_BYTES)
    number = mapped.number("i")
    if not 0 <= n_sizes <= _MOST_SIZES:
        raise WeightsError(f"{file}: got a tensor of {n_sizes} sizes, expected at most {_MOST_SIZES}; it is damaged")
    shape = tuple(mapped.number("i") for _ in range(n_sizes))[::-1]
    theirs = mapped.content(length).decode("utf-8", errors="replace")
    name = theirs.replace(".mlp.0.", ".mlp1.").replace(".mlp.2.", ".mlp2.")
    if name not in shapes:
        raise WeightsError(f"{file}: unknown tensor {shown(theirs)}")
    if shape != shapes[name]:
        raise WeightsError(f"{file}: {name} has shape {shape}, expected {shapes[name]}")
    kind = TYPES.get(number)
    if kind is None or shape[-1] % kind.n_numbers:
        got = f"number {number}" if kind is None else f"{kind.name}, in which a row of {shape[-1]} cannot be"
        raise WeightsError(
            f"{file}: {name} has type {got}; expected one of {', '.join(each.name for each in TYPES.values())}"
        )
    return name, kind


def _numbers(mapped: MappedFile, kind: TensorType, shape: tuple[int, ...]) -> NDArray[Any]:
    records = mapped.array(kind.record, math.prod(shape) // kind.n_numbers)
    if kind.is_quantised:
        return dequantised(records).reshape(shape)
    return np.require(records.reshape(shape), requirements=["ALIGNED"])


def _translated(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """Return a tensor in our layout, which is another for convolutions."""
    if not _CONVOLUTION.fullmatch(name):
        return tensor
    return tensor.swapaxes(1, 2) if name.endswith("weight") else tensor[:, 0]
