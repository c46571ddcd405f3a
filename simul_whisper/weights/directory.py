"""A directory of weights, whatever wrote it: which of the layouts it has, and the model it holds; or such a file."""

from enum import Enum
from pathlib import Path

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, shown
from simul_whisper.weights import ctranslate2, ggml
from simul_whisper.weights.checkpoint import Checkpoint, read_json
from simul_whisper.weights.embedded import INSTALL, embedded_tokenizer
from simul_whisper.weights.family import Family, family_of, refuse_realtime
from simul_whisper.weights.heads import choose_heads
from simul_whisper.weights.model import Head, Weights, check_tensors
from simul_whisper.whisper_tokenizer import WhisperTokenizer


class Layout(Enum):
    """Whose layout a directory has, and the files that tell."""

    CTRANSLATE2 = "faster-whisper: model.bin"
    MLX = "mlx-community: weights.safetensors or weights.npz"
    HUGGING_FACE = "Transformers: model.safetensors, or its shards and model.safetensors.index.json"
    GGML = "whisper.cpp: ggml-*.bin"


def load_directory(name: str, directory: Path, alignment_heads: tuple[Head, ...] | None = None) -> Weights:
    """Load the model in a directory. Raises WeightsError when it is incomplete, damaged or no Whisper model.

    name: what to call it, and by which to find published alignment heads. directory: or one of whisper.cpp's files,
    which, there as well as alone in a directory, says itself what its model is called.
    """
    try:
        file = directory if directory.is_file() else _ggml_file(directory)
        checkpoint = ggml.read(file) if file else _read(directory)
        tokenizer = _tokenizer_file(checkpoint.files[0].parent, checkpoint.dims.n_vocab)
    except OSError as error:  # of a directory that may not be searched
        raise WeightsError(f"{directory}: cannot be read: {error.strerror}") from error
    name, dims = ggml.model_name(file) if file else name, checkpoint.dims
    check_tensors(str(directory), dims, checkpoint.tensors)
    if checkpoint.vocabulary is not None:
        _check_vocabulary(checkpoint, tokenizer)
    heads = choose_heads(name, dims, alignment_heads, checkpoint.alignment_heads)
    return Weights(
        name, dims, checkpoint.tensors, heads, tokenizer, checkpoint.files, checkpoint.quantized, file is not None
    )


def layout_of(directory: Path) -> Layout | None:
    """Return the layout of a directory; None when it has none of them. Raises WeightsError."""
    files = set(_file_names(directory))
    if "model.bin" in files:
        return Layout.CTRANSLATE2
    if files & {"weights.safetensors", "weights.npz"}:
        return Layout.MLX
    if files & {"model.safetensors", "model.safetensors.index.json"}:
        # mlx-community uses this name too; only its configs have OpenAI's names.
        return Layout.MLX if "n_audio_state" in read_json(directory / "config.json") else Layout.HUGGING_FACE
    return Layout.GGML if any(map(ggml.is_ggml_name, files)) else None


def _read(directory: Path) -> Checkpoint:
    layout = layout_of(directory)
    if layout in (Layout.HUGGING_FACE, None):
        _refuse_voxtral(directory)
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


def _refuse_voxtral(directory: Path) -> None:
    """Raise WeightsError for a Voxtral model, which is read elsewhere and tensor by tensor."""
    refuse_realtime(directory, directory)
    if family_of(directory) is Family.VOXTRAL:
        raise WeightsError(f"{directory}: this is a Voxtral model, expected Whisper; its weights are read another way")


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
    if "consolidated.safetensors" in files:
        found += " (Mistral's layout: put the model's params.json beside it)"
    return f"{directory}: no weights here; {found}, expected one of {'; '.join(each.value for each in Layout)}"


def _tokenizer_file(directory: Path, n_vocab: int) -> Path:
    own = directory / "tokenizer.json"
    found = own if own.exists() else embedded_tokenizer(n_vocab)
    if found is None:
        raise WeightsError(f"{own} is missing; put the model's tokenizer.json there, or {INSTALL}")
    return found


def _ggml_file(directory: Path) -> Path | None:
    """Return whisper.cpp's file in a directory of its layout; None for other layouts. Raises WeightsError."""
    if layout_of(directory) is not Layout.GGML:
        return None
    names = [name for name in _file_names(directory) if ggml.is_ggml_name(name)]
    if len(names) > 1:
        raise WeightsError(f"{directory}: got {len(names)} models, {one_line(', '.join(names))}; name one of the files")
    return directory / names[0]


def _check_vocabulary(checkpoint: Checkpoint, tokenizer_file: Path) -> None:
    """Raise WeightsError unless the tokenizer has the tokens that the weights file lists; its last may have no text."""
    tokenizer, listed = WhisperTokenizer(tokenizer_file, checkpoint.dims.n_vocab), checkpoint.vocabulary or ()
    for token, found in enumerate([*listed, *[b""] * (tokenizer.eot - len(listed))][: tokenizer.eot]):
        if found != tokenizer.bytes_of(token):
            raise WeightsError(
                f"{checkpoint.files[0]}: its token {token} is {shown(found)}, but {shown(tokenizer.bytes_of(token))} "
                f"in {tokenizer_file}; put the model's own tokenizer.json beside it"
            )
