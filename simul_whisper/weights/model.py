"""What a Whisper model is, whatever file it came from: dimensions, tensors, alignment heads, tokenizer.

Tensor names and layouts are those of mlx-community's `weights.npz` (linear weights `(out, in)`, convolutions
`(out, kernel, in)`), so that the MLX network loads them unchanged; the formats translate into them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import shown
from simul_whisper.weights.mapped import give_back

Tensors = Mapping[str, NDArray[Any]]
Head = tuple[int, int]

# Two to ten times what the largest Whisper has.
_MOST = {
    "n_mels": 256,
    "n_audio_ctx": 3000,
    "n_audio_state": 4096,
    "n_audio_head": 128,
    "n_audio_layer": 128,
    "n_vocab": 120_000,
    "n_text_ctx": 2048,
    "n_text_state": 4096,
    "n_text_head": 128,
    "n_text_layer": 128,
}
_WHOLE = {"n_mels": (80, 128), "n_audio_ctx": (1500,), "n_text_ctx": (448,)}


@dataclass(frozen=True)
class Dims:
    """The ten numbers of a Whisper model, under OpenAI's names."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    @property
    def multilingual(self) -> bool:
        return self.n_vocab >= 51865


@dataclass(frozen=True)
class Weights:
    """A loaded model.

    tensors: exactly the names and shapes of `expected_shapes(dims)`; float16 or float32, mostly in a mapped file, where
    they need not be aligned. Who has used one gives it back.
    alignment_heads: (layer, head) pairs of the decoder's cross-attention that follow the audio.
    tokenizer_file: a Hugging Face `tokenizer.json`.
    files: the weights file, or its shards in order, all in one directory.
    quantized: the tensors were expanded from fewer bits, so they are not those that the model was trained to.
    is_one_file: the weights file is the whole model, of whatever else its directory has.
    """

    name: str
    dims: Dims
    tensors: Tensors
    alignment_heads: tuple[Head, ...]
    tokenizer_file: Path
    files: tuple[Path, ...]
    quantized: bool = False
    is_one_file: bool = False

    @property
    def directory(self) -> Path:
        return self.files[0].parent

    @property
    def source(self) -> Path:
        """What the model is loaded from: its directory, or its one file."""
        return self.files[0] if self.is_one_file else self.directory

    @cached_property
    def digest(self) -> str:
        """sha256 of the weights file, in hex; of shards one after the other. Reads it all: a second per gigabyte."""
        return digest_of(self.files)


def digest_of(files: Iterable[Path]) -> str:
    """Return the sha256 of files, in hex, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def expected_shapes(dims: Dims) -> dict[str, tuple[int, ...]]:
    """Every tensor of a model of these dimensions: name -> shape."""
    audio, text = dims.n_audio_state, dims.n_text_state
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (audio, 3, dims.n_mels),
        "encoder.conv1.bias": (audio,),
        "encoder.conv2.weight": (audio, 3, audio),
        "encoder.conv2.bias": (audio,),
        "decoder.token_embedding.weight": (dims.n_vocab, text),
        "decoder.positional_embedding": (dims.n_text_ctx, text),
    }
    for layer in range(dims.n_audio_layer):
        shapes |= _block_shapes(f"encoder.blocks.{layer}", audio, cross=False)
    for layer in range(dims.n_text_layer):
        shapes |= _block_shapes(f"decoder.blocks.{layer}", text, cross=True)
    return shapes | _norm_shapes("encoder.ln_post", audio) | _norm_shapes("decoder.ln", text)


def _block_shapes(block: str, n_state: int, *, cross: bool) -> dict[str, tuple[int, ...]]:
    shapes = _attention_shapes(f"{block}.attn", n_state) | _norm_shapes(f"{block}.attn_ln", n_state)
    if cross:
        shapes |= _attention_shapes(f"{block}.cross_attn", n_state)
        shapes |= _norm_shapes(f"{block}.cross_attn_ln", n_state)
    shapes |= {
        f"{block}.mlp1.weight": (4 * n_state, n_state),
        f"{block}.mlp1.bias": (4 * n_state,),
        f"{block}.mlp2.weight": (n_state, 4 * n_state),
        f"{block}.mlp2.bias": (n_state,),
    }
    return shapes | _norm_shapes(f"{block}.mlp_ln", n_state)


def _attention_shapes(name: str, n_state: int) -> dict[str, tuple[int, ...]]:
    weights = {f"{name}.{part}.weight": (n_state, n_state) for part in ("query", "key", "value", "out")}
    # The key projection has no bias: it would cancel in the softmax.
    return weights | {f"{name}.{part}.bias": (n_state,) for part in ("query", "value", "out")}


def _norm_shapes(name: str, n_state: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (n_state,), f"{name}.bias": (n_state,)}


def check_dims(source: str, dims: Dims) -> None:
    """Raise WeightsError unless a Whisper of these dimensions can be: call it before anything is made in their size."""
    for name, most in _MOST.items():
        if not 1 <= (found := getattr(dims, name)) <= most:
            raise WeightsError(f"{source}: got {name} = {found}, expected 1 to {most}; this is no Whisper model")
    for n_state, n_head in ((dims.n_audio_state, dims.n_audio_head), (dims.n_text_state, dims.n_text_head)):
        if n_state % n_head or n_state % 4:
            raise WeightsError(f"{source}: {n_head} heads do not divide a state of {n_state}")
    if dims.n_audio_state != dims.n_text_state:
        raise WeightsError(
            f"{source}: the encoder's state of {dims.n_audio_state} is not the decoder's, {dims.n_text_state}"
        )


def check_whole(source: str, dims: Dims) -> None:
    """Raise WeightsError unless the model hears and writes as much as every Whisper: windows of 30 s, 448 tokens."""
    for name, allowed in _WHOLE.items():
        if (found := getattr(dims, name)) not in allowed:
            raise WeightsError(f"{source}: got {name} = {found}, expected {' or '.join(map(str, allowed))}")


def check_tensors(source: str, dims: Dims, tensors: Tensors) -> None:
    """Raise WeightsError unless `tensors` are exactly those that `dims`, checked before, ask for, and all finite."""
    expected = expected_shapes(dims)
    missing = sorted(expected.keys() - tensors.keys())
    if missing:
        raise WeightsError(f"{source}: {len(missing)} tensors are missing, the first is {missing[0]}")
    unknown = sorted(tensors.keys() - expected.keys())
    if unknown:
        raise WeightsError(f"{source}: {len(unknown)} unknown tensors, the first is {shown(unknown[0])}")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise WeightsError(f"{source}: {name} has shape {tensors[name].shape}, expected {shape}")
        if tensors[name].dtype not in (np.float16, np.float32):
            raise WeightsError(f"{source}: {name} has type {tensors[name].dtype}, expected float16 or float32")
    for name in expected:
        if not np.isfinite(tensors[name]).all():
            raise WeightsError(f"{source}: {name} holds NaN or infinite numbers; fetch or convert the model again")
        give_back(tensors[name])


def check_heads(source: str, dims: Dims, heads: tuple[Head, ...]) -> None:
    """Raise WeightsError unless `heads` name at least one head, all of them in the decoder."""
    if not heads:
        raise WeightsError(f"{source}: no alignment heads; give them as alignment_heads = [[layer, head], ...]")
    if len(set(heads)) < len(heads):
        raise WeightsError(f"{source}: got {len(heads)} alignment heads, some of them twice; name each once")
    for layer, head in heads:
        if not (0 <= layer < dims.n_text_layer and 0 <= head < dims.n_text_head):
            raise WeightsError(
                f"{source}: alignment head ({layer}, {head}) does not exist in a decoder of "
                f"{dims.n_text_layer} layers of {dims.n_text_head} heads"
            )
