"""Read Whisper from a CTranslate2 (faster-whisper) directory, without CTranslate2.

`model.bin` is little-endian: version, specification, then variables by name, then aliases of variables. Variables stay
in the mapped file until they are used.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import shown
from simul_whisper.weights.checkpoint import Checkpoint, check_positions, heads_from, read_json
from simul_whisper.weights.mapped import MappedFile
from simul_whisper.weights.model import Dims, check_dims
from simul_whisper.weights.safetensors import checked_shape, widened

Variables = dict[str, NDArray[Any]]

_VERSION = 6  # older ones never held Whisper
_SPECIFICATION, _REVISION = "WhisperSpec", 3
_BFLOAT16 = 5
# Of variables, and of aliases: the largest Whisper has 1,300 of them.
_MOST_VARIABLES = 1 << 15
_TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", _BFLOAT16: "<u2"}

# Which of our layers one of theirs holds; several are stacked along the output.
_LAYERS = {
    "self_attention/layer_norm": ("attn_ln",),
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "attention/layer_norm": ("cross_attn_ln",),
    "attention/linear_0": ("cross_attn.query",),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": ("cross_attn.out",),
    "ffn/layer_norm": ("mlp_ln",),
    "ffn/linear_0": ("mlp1",),
    "ffn/linear_1": ("mlp2",),
}
_SCALE = "_scale"
_ATTRIBUTES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_ENCODER_POSITIONS = "encoder/position_encodings/encodings"
_OUTSIDE_LAYERS = {
    "encoder/conv1/weight": "encoder.conv1.weight",
    "encoder/conv1/bias": "encoder.conv1.bias",
    "encoder/conv2/weight": "encoder.conv2.weight",
    "encoder/conv2/bias": "encoder.conv2.bias",
    "encoder/layer_norm/gamma": "encoder.ln_post.weight",
    "encoder/layer_norm/beta": "encoder.ln_post.bias",
    "decoder/embeddings/weight": "decoder.token_embedding.weight",
    "decoder/position_encodings/encodings": "decoder.positional_embedding",
    "decoder/layer_norm/gamma": "decoder.ln.weight",
    "decoder/layer_norm/beta": "decoder.ln.bias",
}


def read(directory: Path) -> Checkpoint:
    """Read a faster-whisper directory. Raises WeightsError when it is damaged or no Whisper model."""
    file, config = directory / "model.bin", directory / "config.json"
    variables, quantized = _read_variables(file)
    if _ENCODER_POSITIONS not in variables:
        raise WeightsError(f"{file}: {_ENCODER_POSITIONS} is missing")
    tensors = _translate(file, variables)
    dims = _dims(file, variables, tensors)
    check_dims(str(file), dims)
    check_positions(file, dims, variables[_ENCODER_POSITIONS])
    heads = heads_from(config, read_json(config).get("alignment_heads"))
    return Checkpoint(dims, tensors, heads, (file,), quantized)


def read_variables(file: Path) -> Variables:
    """Return the variables of a `model.bin`, aliases included, quantised ones as float32."""
    return _read_variables(file)[0]


def _read_variables(file: Path) -> tuple[Variables, bool]:
    """Return the variables, and whether any of them was quantised."""
    reader = _Reader(file)
    reader.expect_whisper()
    stored = dict(reader.variable() for _ in range(reader.count()))
    # Before there are aliases, so that each is expanded once.
    variables = _dequantised(file, stored)
    for _ in range(reader.count()):
        alias, name = reader.string(), reader.string()
        if name in variables:
            variables[alias] = variables[name]
        # A scale has no alias of its own, but some converters give it one.
        elif not name.endswith(_SCALE):
            raise WeightsError(f"{file}: {shown(alias)} is an alias of {shown(name)}, which is missing")
    return variables, any(name + _SCALE in stored for name in stored)


class _Reader:
    """The parts of a `model.bin`, in their order."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mapped = MappedFile(file)

    def expect_whisper(self) -> None:
        version = self._mapped.number("I")
        if version != _VERSION:
            raise WeightsError(f"{self._file}: got format version {version}, expected {_VERSION}; convert it again")
        name, revision = self.string(), self._mapped.number("I")
        if name != _SPECIFICATION or revision > _REVISION:
            raise WeightsError(
                f"{self._file}: got a {shown(name)} of revision {revision}, expected {_SPECIFICATION} up to {_REVISION}"
            )

    def count(self) -> int:
        """Return how many variables or aliases follow."""
        n = self._mapped.number("I")
        if n > _MOST_VARIABLES:
            raise WeightsError(f"{self._file}: got {n} variables, expected at most {_MOST_VARIABLES}; it is damaged")
        return n

    def string(self) -> str:
        content = self._mapped.content(self._mapped.number("H"))
        return content.rstrip(b"\0").decode("utf-8", errors="replace")

    def variable(self) -> tuple[str, NDArray[Any]]:
        name, rank = self.string(), self._mapped.number("B")
        shape = self._shape(name, tuple(self._mapped.number("I") for _ in range(rank)))
        kind, n_bytes = self._mapped.number("B"), self._mapped.number("I")
        if kind not in _TYPES:
            raise WeightsError(f"{self._file}: {shown(name)} has unknown type {kind}")
        dtype, count = np.dtype(_TYPES[kind]), math.prod(shape)
        if n_bytes != count * dtype.itemsize:
            raise WeightsError(f"{self._file}: {shown(name)} has {n_bytes} bytes, expected {count * dtype.itemsize}")
        # Half of them are not aligned. A copy that is would take the memory that mapping them saves.
        array = self._mapped.array(dtype, count).reshape(shape)
        return name, widened(array) if kind == _BFLOAT16 else array

    def _shape(self, name: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
        try:
            return checked_shape(name, sizes)
        except ValueError as error:
            raise WeightsError(f"{self._file}: {error}") from error


def _dequantised(file: Path, variables: Variables) -> Variables:
    """int8 has one scale for each output, int16 one for all; the scale is what the number was multiplied by."""
    found = {name: value for name, value in variables.items() if not name.endswith(_SCALE)}
    for name, value in found.items():
        if (scale := variables.get(name + _SCALE)) is not None:
            is_whole = value.dtype.kind == "i" and value.dtype.itemsize <= 2 and scale.dtype == np.float32
            if not is_whole or scale.shape not in ((), (1,), value.shape[:1]) or not (np.abs(scale) > 0).all():
                raise WeightsError(
                    f"{file}: {shown(name)} cannot be dequantised: its scale is of another shape or type"
                )
            divisors = scale.reshape(scale.shape + (1,) * (value.ndim - scale.ndim))
            # What is infinite is refused later, by name.
            with np.errstate(over="ignore"):
                found[name] = np.divide(value, divisors, dtype=np.float32)
    return found


def _translate(file: Path, variables: Variables) -> Variables:
    """Return the tensors under canonical names; those without one keep theirs, for the check to refuse."""
    tensors: Variables = {}
    for name, value in variables.items():
        if value.ndim == 0 or name in (_ENCODER_POSITIONS, "decoder/projection/weight"):
            continue
        targets = _targets(name)
        if value.shape[0] % len(targets):
            raise WeightsError(f"{file}: {shown(name)} has shape {value.shape}, expected {len(targets)} equal parts")
        tensors.update(zip(targets, np.split(value, len(targets)), strict=True))
    for name in ("encoder.conv1.weight", "encoder.conv2.weight"):
        if name in tensors and tensors[name].ndim == 3:
            tensors[name] = tensors[name].swapaxes(1, 2)
    # Stacking gave keys a bias of zeros.
    return {name: value for name, value in tensors.items() if not name.endswith(".key.bias")}


def _targets(name: str) -> tuple[str, ...]:
    """The canonical names of the parts of a variable."""
    found = re.fullmatch(r"(encoder|decoder)/layer_(\d+)/(.+)/(\w+)", name)
    if found and found[3] in _LAYERS and found[4] in _ATTRIBUTES:
        block, attribute = f"{found[1]}.blocks.{found[2]}", _ATTRIBUTES[found[4]]
        return tuple(f"{block}.{part}.{attribute}" for part in _LAYERS[found[3]])
    return (_OUTSIDE_LAYERS.get(name, name),)


def _dims(file: Path, variables: Variables, tensors: Variables) -> Dims:
    try:
        n_audio_state, _, n_mels = tensors["encoder.conv1.weight"].shape
        n_text_ctx, n_text_state = tensors["decoder.positional_embedding"].shape
        n_vocab, _ = tensors["decoder.token_embedding.weight"].shape
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{file}: the tensor that would give its dimensions is wrong or missing: {error}") from error

    def n_heads(side: str, n_state: int) -> int:
        said = variables.get(f"{side}/num_heads", np.int16(n_state // 64))
        if said.shape or said.dtype.kind != "i":
            raise WeightsError(f"{file}: {side}/num_heads is {said.dtype} of {said.shape}, expected a whole number")
        return int(said)

    def n_layers(side: str) -> int:
        return sum(name.startswith(f"{side}.blocks.") and name.endswith(".mlp_ln.weight") for name in tensors)

    return Dims(
        n_mels=n_mels,
        n_audio_ctx=variables[_ENCODER_POSITIONS].shape[0],
        n_audio_state=n_audio_state,
        n_audio_head=n_heads("encoder", n_audio_state),
        n_audio_layer=n_layers("encoder"),
        n_vocab=n_vocab,
        n_text_ctx=n_text_ctx,
        n_text_state=n_text_state,
        n_text_head=n_heads("decoder", n_text_state),
        n_text_layer=n_layers("decoder"),
    )
