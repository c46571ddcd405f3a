"""Write a model as one of whisper.cpp's files, with blocks quantised as its `quantize` does."""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.mel import mel_filters
from simul_whisper.weights import Dims
from simul_whisper.weights.embedded import embedded_tokenizer
from simul_whisper.whisper_tokenizer import _BYTE_OF_CHARACTER, WhisperTokenizer
from tests.simul_whisper.weights import build

NUMBERS = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8}
# The type of most tensors, as the start of a file says it.
FTYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9}


def vocabulary(n_vocab: int) -> list[bytes]:
    """The tokens of OpenAI's vocabularies, without special ones."""
    file = embedded_tokenizer(n_vocab)
    assert file is not None
    tokenizer = WhisperTokenizer(file, n_vocab)
    return [tokenizer.bytes_of(token) for token in range(tokenizer.eot)]


def write_tokenizer(directory: Path) -> list[bytes]:
    """Write a tokenizer.json of 256 tokens and return them: OpenAI's take a while to compare."""
    directory.mkdir(parents=True, exist_ok=True)
    ids = {character: number for number, character in enumerate(_BYTE_OF_CHARACTER)}
    content = {"added_tokens": [{"id": 50256, "content": "<|endoftext|>"}], "model": {"vocab": ids, "merges": []}}
    (directory / "tokenizer.json").write_text(json.dumps(content))
    return [bytes([byte]) for byte in _BYTE_OF_CHARACTER.values()]


def start(dims: Dims, ftype: int, tokens: Iterable[bytes], magic: bytes = b"lmgg") -> bytes:
    """All that is before the tensors."""
    audio = (dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer)
    text = (dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
    numbers = (dims.n_vocab, *audio, *text, dims.n_mels, ftype)
    filters = struct.pack("<2i", dims.n_mels, 201) + mel_filters(dims.n_mels).astype("<f4").tobytes()
    listed = [struct.pack("<i", len(token)) + token for token in tokens]
    return magic + struct.pack("<11i", *numbers) + filters + struct.pack("<i", len(listed)) + b"".join(listed)


def tensor(name: str, sizes: Iterable[int], kind: int, data: bytes) -> bytes:
    """sizes: in the file's order, the reverse of NumPy's."""
    sizes, text = list(sizes), name.encode()
    return struct.pack(f"<3i{len(sizes)}i", len(sizes), len(text), kind, *sizes) + text + data


def write(
    file: Path, tensors: build.Tensors, dims: Dims, *, kind: str = "f16", tokens: Iterable[bytes] | None = None
) -> Path:
    """Write a whole model; kind: of its matrices."""
    file.parent.mkdir(parents=True, exist_ok=True)
    listed = vocabulary(dims.n_vocab) if tokens is None else tokens
    with file.open("wb") as stream:
        stream.write(start(dims, FTYPES[kind] + (2000 if kind.startswith("q") else 0), listed))
        for name, value in {**tensors, "encoder.positional_embedding": build.positions(dims)}.items():
            stream.write(_tensor(name, value, kind))
    return file


def _tensor(name: str, value: NDArray[Any], kind: str) -> bytes:
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        value = value[:, None]
    if value.ndim == 3:
        # Convolutions are (out, in, kernel), and never quantised.
        value, kind = value.swapaxes(1, 2), "f32" if kind == "f32" else "f16"
    elif value.ndim == 1 or "conv" in name or name.endswith("positional_embedding"):
        kind = "f32"
    theirs = name.replace(".mlp1.", ".mlp.0.").replace(".mlp2.", ".mlp.2.")
    return tensor(theirs, value.shape[::-1], NUMBERS[kind], packed(value, kind))


def packed(value: NDArray[Any], kind: str) -> bytes:
    """The numbers as a file has them."""
    if not kind.startswith("q"):
        return value.astype({"f32": "<f4", "f16": "<f2"}[kind]).tobytes()
    rows = value.reshape(-1, 32).astype(np.float32)
    if kind == "q8_0":
        scale = np.abs(rows).max(axis=1) / 127
        return _joined(scale, np.rint(_divided(rows, scale)).astype(np.int8))
    n_bits = int(kind[1])
    if kind.endswith("_1"):
        least = rows.min(axis=1)
        scale = (rows.max(axis=1) - least) / (2**n_bits - 1)
        numbers = np.rint(_divided(rows - least[:, None], scale))
        return _joined(scale, least, *_bits(numbers, n_bits))
    # The number farthest from zero becomes the lowest one, whatever its sign.
    farthest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    scale = farthest / -(2 ** (n_bits - 1))
    numbers = np.minimum(np.rint(_divided(rows, scale)) + 2 ** (n_bits - 1), 2**n_bits - 1)
    return _joined(scale, *_bits(numbers, n_bits))


def _divided(rows: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.where(scale == 0, 1, scale)[:, None], np.float32)


def _bits(numbers: NDArray[np.float32], n_bits: int) -> list[NDArray[np.uint8]]:
    """The fifth bits, if there are, and the four lower bits of the first half beside those of the second."""
    whole = numbers.astype(np.uint8)
    fifth = [np.packbits(whole >> 4, axis=1, bitorder="little")] if n_bits == 5 else []
    # A byte has no room for the fifth bit of the second half.
    return [*fifth, np.bitwise_or(whole[:, :16] & 15, whole[:, 16:] << 4)]


def _joined(*fields: NDArray[Any]) -> bytes:
    """Blocks one after the other, of fields one after the other; floats in 16 bits."""
    halves = [field.astype("<f2")[:, None] if field.dtype.kind == "f" else field for field in fields]
    return np.concatenate([np.ascontiguousarray(field).view(np.uint8) for field in halves], axis=1).tobytes()
