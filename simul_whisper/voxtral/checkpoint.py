"""A directory with a Voxtral model: Hugging Face's layout, Mistral's or mlx-community's -> dimensions and tensors.

Only headers and configs are read here; tensors are read when they are asked for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import shown
from simul_whisper.voxtral.dims import VoxtralDims, check_dims, expected_shapes
from simul_whisper.voxtral.names import POSITIONS, Naming
from simul_whisper.voxtral.settings import Packing, Settings, read_settings
from simul_whisper.voxtral.stored import LazyTensor, LazyTensors, WeightsFile, open_file
from simul_whisper.weights.checkpoint import check_positions, shard_names
from simul_whisper.weights.family import Family, family_of, refuse_realtime
from simul_whisper.weights.model import digest_of

TOKENIZER = "tekken.json"
FILE, INDEX, CONSOLIDATED = "model.safetensors", "model.safetensors.index.json", "consolidated.safetensors"
_KERNEL = 3
_FLOATS = ("BF16", "F16", "F32")
# What each size of these tensors is.
_MEASURED = {
    "encoder.conv1.weight": ("n_audio_state", "", "n_mels"),
    "language.token_embedding.weight": ("n_vocab", ""),
    "language.norm.weight": ("n_text_state",),
    "language.layers.0.mlp.gate.weight": ("n_text_mlp", ""),
    "projector.linear_1.weight": ("", "n_together"),
}
_QUERY_OR_KEY = re.compile(r"language\.layers\.\d+\.attention\.(query|key)\.weight")


@dataclass(frozen=True)
class VoxtralWeights:
    """A Voxtral model, opened.

    tensors: exactly the names of `expected_shapes(dims)`, read when asked for; and where a matrix `x.weight` is
    quantised, uint32 packed by MLX, `x.scales` and `x.biases` beside it.
    packings: how they are packed, by `x`. tokenizer_file: Mistral's tekken.json.
    files: the weights file, or its shards in order, all in one directory.
    """

    name: str
    dims: VoxtralDims
    tensors: LazyTensors
    packings: Mapping[str, Packing]
    tokenizer_file: Path
    files: tuple[Path, ...]

    @property
    def directory(self) -> Path:
        return self.files[0].parent

    @cached_property
    def digest(self) -> str:
        """sha256 of the weights file, in hex; of shards one after the other. Reads it all: a second per gigabyte."""
        return digest_of(self.files)


def open_voxtral(name: str, directory: Path) -> VoxtralWeights:
    """Open the model in a directory. Raises WeightsError when it is incomplete, damaged or no Voxtral model."""
    refuse_realtime(directory, directory)
    if (family := family_of(directory)) is not Family.VOXTRAL:
        kind = "Whisper, not Voxtral" if family is Family.WHISPER else "no Voxtral model"
        raise WeightsError(f"{directory}: this is {kind}; expected config.json or params.json of a Voxtral of 2507")
    settings = read_settings(directory)
    names, naming = _files(directory)
    files = [open_file(directory / each) for each in names]
    found, packings = _named(files, naming, settings)
    positions = found.pop(f"{POSITIONS}.weight", None)
    dims = _dims(directory, found, packings, settings)
    check_dims(str(settings.file), dims)
    if positions is not None:
        _check_positions(dims, positions)
    _check_tensors(directory, dims, found, packings)
    tokenizer = directory / TOKENIZER
    if not tokenizer.is_file():
        raise WeightsError(f"{tokenizer} is missing; put the model's tokenizer there")
    changed = {each: _changed(each, tensor, dims, naming) for each, tensor in found.items()}
    return VoxtralWeights(name, dims, LazyTensors(changed), packings, tokenizer, tuple(each.path for each in files))


def _files(directory: Path) -> tuple[tuple[str, ...], Naming]:
    """The file of weights, or its shards, and whose names they have."""
    shards = shard_names(directory / INDEX)
    is_whole = all((directory / name).exists() for name in shards)
    if shards and (is_whole or not (directory / CONSOLIDATED).exists()):
        return shards, Naming.HUGGING_FACE
    for name, naming in ((FILE, Naming.HUGGING_FACE), (CONSOLIDATED, Naming.MISTRAL)):
        if (directory / name).exists():
            return (name,), naming
    raise WeightsError(f"{directory}: no weights here; expected {FILE}, its shards and {INDEX}, or {CONSOLIDATED}")


def _named(
    files: list[WeightsFile], naming: Naming, settings: Settings
) -> tuple[dict[str, LazyTensor], dict[str, Packing]]:
    """Return the tensors under our names, as they lie in the files, and the packings of quantised ones."""
    found, packings = dict[str, LazyTensor](), dict[str, Packing]()
    for file in files:
        for theirs, stored in file.tensors.items():
            name, (module, _, part) = naming.tensor(theirs), theirs.rpartition(".")
            if name.startswith(POSITIONS) and (part != "weight" or stored.dtype not in _FLOATS):
                continue  # packed
            if name in found:
                raise WeightsError(f"{file.path}: {shown(theirs)} is in the model twice; fetch the model again")
            found[name] = LazyTensor(file, stored, stored.shape)
            if part == "scales":
                packings[name.removesuffix(".scales")] = _packing(settings, module)
    return found, packings


def _packing(settings: Settings, module: str) -> Packing:
    packing = settings.packings.get(module, settings.packing)
    if packing is None:
        raise WeightsError(f"{settings.file}: no quantization, but {shown(module)} is quantised; fetch the model again")
    return packing


def _shape(name: str, tensor: LazyTensor, packings: Mapping[str, Packing]) -> tuple[int, ...]:
    """Return a tensor's shape as if it were not quantised, and a convolution's in our layout."""
    shape, packing = tensor.stored.shape, packings.get(name.removesuffix(".weight"))
    if packing and len(shape) == 2:
        return shape[0], shape[1] * 32 // packing.bits
    if _is_torch_convolution(name, shape):
        return shape[0], shape[2], shape[1]
    return shape


def _is_torch_convolution(name: str, shape: tuple[int, ...]) -> bool:
    """Whether this is a convolution's (out, in, kernel), where ours, and MLX's, is (out, kernel, in)."""
    return "encoder.conv" in name and len(shape) == 3 and shape[2] == _KERNEL


def _dims(
    directory: Path, found: Mapping[str, LazyTensor], packings: Mapping[str, Packing], settings: Settings
) -> VoxtralDims:
    """Return the dimensions that the tensors have. The config says the others, and must not say otherwise of these."""
    measured = _measured(directory, found, packings)
    for key, size in measured.items():
        if settings.numbers.get(key, size) != size:
            raise WeightsError(
                f"{settings.file}: says {key} = {settings.numbers[key]}, but the tensors beside it have {size}; "
                "these files belong to different models"
            )
    numbers: dict[str, Any] = settings.numbers | measured
    for key in ("n_audio_head", "n_text_head", "n_text_kv_head", "head_dim", "rope_theta", "norm_eps"):
        if key not in numbers:
            raise WeightsError(f"{settings.file}: does not say {key}; fetch the model again")
    return VoxtralDims(**numbers, tied="language.output.weight" not in found)


def _measured(directory: Path, found: Mapping[str, LazyTensor], packings: Mapping[str, Packing]) -> dict[str, int]:
    """Return what the shapes of tensors, and their number, tell."""
    measured = dict[str, int]()
    for name, sizes in _MEASURED.items():
        if name not in found:
            raise WeightsError(f"{directory}: {name} is missing; fetch the model again")
        shape = _shape(name, found[name], packings)
        if len(shape) != len(sizes):
            raise WeightsError(f"{found[name].file.path}: {name} has shape {shape}, expected {len(sizes)} sizes")
        measured |= {key: size for key, size in zip(sizes, shape, strict=True) if key}
    measured["downsample"] = measured.pop("n_together") // measured["n_audio_state"]
    measured["n_audio_layer"] = _count(found, "encoder.blocks")
    measured["n_text_layer"] = _count(found, "language.layers")
    return measured


def _count(found: Mapping[str, LazyTensor], start: str) -> int:
    """Return how many layers there are: one more than the last has as its number."""
    numbers = [int(at[1]) for name in found if (at := re.match(rf"{start}\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1


def _check_tensors(
    directory: Path, dims: VoxtralDims, found: Mapping[str, LazyTensor], packings: Mapping[str, Packing]
) -> None:
    """Raise WeightsError unless the tensors are exactly those that `dims`, checked before, ask for."""
    expected = expected_shapes(dims)
    packed = {f"{module}.{part}" for module in packings for part in ("scales", "biases")}
    missing = sorted((expected.keys() | packed) - found.keys())
    if missing:
        raise WeightsError(f"{directory}: {len(missing)} tensors are missing, the first is {missing[0]}")
    unknown = sorted(found.keys() - expected.keys() - packed)
    if unknown:
        raise WeightsError(f"{directory}: {len(unknown)} unknown tensors, the first is {shown(unknown[0])}")
    for name, shape in expected.items():
        tensor, packing = found[name], packings.get(name.removesuffix(".weight"))
        _check(name, tensor, _shape(name, tensor, packings), shape, ("U32",) if packing else _FLOATS)
        if packing:
            for part in ("scales", "biases"):
                each = f"{name.removesuffix('.weight')}.{part}"
                groups = shape[0], shape[1] // packing.group_size
                _check(each, found[each], found[each].stored.shape, groups, _FLOATS)


def _check_positions(dims: VoxtralDims, positions: LazyTensor) -> None:
    """Raise WeightsError unless the encoder's positions are those that the network computes."""
    shape = dims.n_audio_ctx, dims.n_audio_state
    _check(POSITIONS, positions, positions.stored.shape, shape, _FLOATS)
    check_positions(positions.file.path, dims.whisper, LazyTensors({POSITIONS: positions})[POSITIONS])


def _check(
    name: str, tensor: LazyTensor, got: tuple[int, ...], expected: tuple[int, ...], types: tuple[str, ...]
) -> None:
    file = tensor.file.path
    if got != expected:
        raise WeightsError(f"{file}: {name} has shape {got}, expected {expected}; is this file of another model?")
    if tensor.stored.dtype not in types:
        raise WeightsError(f"{file}: {name} has type {tensor.stored.dtype}, expected {' or '.join(types)}")


def _changed(name: str, tensor: LazyTensor, dims: VoxtralDims, naming: Naming) -> LazyTensor:
    """Return a tensor with what has to be done to it once it is read."""
    if _is_torch_convolution(name, tensor.stored.shape):
        out, n_in, kernel = tensor.stored.shape
        return LazyTensor(tensor.file, tensor.stored, (out, kernel, n_in), _kernel_before_input)
    if naming is Naming.MISTRAL and _QUERY_OR_KEY.fullmatch(name):
        return LazyTensor(tensor.file, tensor.stored, tensor.shape, partial(_halves, head_dim=dims.head_dim))
    return tensor


def _kernel_before_input(weight: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(weight.swapaxes(1, 2))


def _halves(weight: NDArray[Any], head_dim: int) -> NDArray[Any]:
    """Return rows of queries or keys (n, n_state) in the order of Hugging Face.

    Mistral turns each even row of a head against the odd one after it; Hugging Face the first half against the second.
    """
    n, n_state = weight.shape
    return np.ascontiguousarray(weight.reshape(-1, head_dim // 2, 2, n_state).swapaxes(1, 2)).reshape(n, n_state)
