"""A directory of weights, whatever wrote it: which of the three layouts it has, and the model it holds."""

from enum import Enum
from pathlib import Path

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line
from simul_whisper.weights import ctranslate2
from simul_whisper.weights.checkpoint import Checkpoint, read_json
from simul_whisper.weights.embedded import INSTALL, embedded_tokenizer
from simul_whisper.weights.heads import choose_heads
from simul_whisper.weights.model import Head, Weights, check_tensors


class Layout(Enum):
    """Whose layout a directory has, and the files that tell."""

    CTRANSLATE2 = "faster-whisper: model.bin"
    MLX = "mlx-community: weights.safetensors or weights.npz"
    HUGGING_FACE = "Transformers: model.safetensors, or its shards and model.safetensors.index.json"


def load_directory(name: str, directory: Path, alignment_heads: tuple[Head, ...] | None = None) -> Weights:
    """Load the model in a directory. Raises WeightsError when it is incomplete, damaged or no Whisper model.

    name: what to call it, and by which to find published alignment heads.
    """
    try:
        checkpoint = _read(directory)
        tokenizer = _tokenizer_file(directory, checkpoint.dims.n_vocab)
    except OSError as error:  # of a directory that may not be searched
        raise WeightsError(f"{directory}: cannot be read: {error.strerror}") from error
    dims = checkpoint.dims
    check_tensors(str(directory), dims, checkpoint.tensors)
    heads = choose_heads(name, dims, alignment_heads, checkpoint.alignment_heads)
    return Weights(name, dims, checkpoint.tensors, heads, tokenizer, checkpoint.files, checkpoint.quantized)


def layout_of(directory: Path) -> Layout | None:
    """Return the layout of a directory; None when it has none of the three. Raises WeightsError."""
    files = set(_file_names(directory))
    if "model.bin" in files:
        return Layout.CTRANSLATE2
    if files & {"weights.safetensors", "weights.npz"}:
        return Layout.MLX
    if files & {"model.safetensors", "model.safetensors.index.json"}:
        # mlx-community uses this name too; only its configs have OpenAI's names.
        return Layout.MLX if "n_audio_state" in read_json(directory / "config.json") else Layout.HUGGING_FACE
    return None


def _read(directory: Path) -> Checkpoint:
    layout = layout_of(directory)
    if layout is Layout.CTRANSLATE2:
        return ctranslate2.read(directory)
    # These two start MLX, which a faster-whisper directory does not need.
    if layout is Layout.MLX:
        from simul_whisper.weights import mlx

        return mlx.read(directory)
    if layout is Layout.HUGGING_FACE:
        from simul_whisper.weights import huggingface

        return huggingface.read(directory)
    raise WeightsError(_nothing_found(directory))


def _file_names(directory: Path) -> list[str]:
    try:
        return sorted(file.name for file in directory.iterdir())
    except OSError as error:
        raise WeightsError(f"{directory}: cannot be read: {error.strerror}") from error


def _nothing_found(directory: Path) -> str:
    files = _file_names(directory)
    found = f"got {one_line(', '.join(files)) or 'an empty directory'}"
    if any(name.startswith("pytorch_model") or name.endswith((".pt", ".pth")) for name in files):
        found += " (PyTorch weights: convert them, or take the model's safetensors)"
    return f"{directory}: no weights here; {found}, expected one of {'; '.join(each.value for each in Layout)}"


def _tokenizer_file(directory: Path, n_vocab: int) -> Path:
    own = directory / "tokenizer.json"
    found = own if own.exists() else embedded_tokenizer(n_vocab)
    if found is None:
        raise WeightsError(f"{own} is missing; put the model's tokenizer.json there, or {INSTALL}")
    return found
