"""Directories of models that mean harm, each in one way: what is written over a true one, and what is said of it."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.simul_whisper.weights import build, ggml_files

SMALL = replace(build.DIMS, n_audio_state=4, n_text_state=4, n_audio_layer=1, n_text_layer=1)
HEADS = ((0, 1),)
TENSORS = build.random_tensors(SMALL)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "ctranslate2": lambda path: build.write_ctranslate2(path, TENSORS, SMALL, heads=HEADS, quantization="int8"),
    "mlx npz": lambda path: build.write_mlx(path, TENSORS, SMALL, heads=HEADS),
    "mlx safetensors": lambda path: build.write_mlx(path, TENSORS, SMALL, heads=HEADS, file="weights.safetensors"),
    "mlx in 4 bits": lambda path: build.write_mlx(path, build.random_tensors(), file="weights.safetensors", bits=4),
    "huggingface": lambda path: build.write_huggingface(path, TENSORS, SMALL, heads=HEADS),
    "huggingface in shards": lambda path: build.write_huggingface(path, TENSORS, SMALL, heads=HEADS, n_shards=2),
    "ggml": lambda path: write_ggml(path, "f16"),
    "ggml in 5 bits": lambda path: write_ggml(path, "q5_1"),
}
GGML = "ggml-small.bin"


def write_ggml(directory: Path, kind: str) -> Path:
    """A directory with one of whisper.cpp's files. It names no heads, so at the end even the true one is refused."""
    n_state = 32 if kind.startswith("q") else 4
    dims = replace(SMALL, n_vocab=51864, n_audio_state=n_state, n_text_state=n_state)
    tokens = ggml_files.write_tokenizer(directory)
    ggml_files.write(directory / GGML, build.random_tensors(dims), dims, kind=kind, tokens=tokens)
    return directory


@dataclass(frozen=True)
class Case:
    """layout: of the true model; harm: what is done to its directory; said: a part of the error."""

    layout: str
    harm: Callable[[Path], object]
    said: str


def config(**changes: Any) -> Callable[[Path], object]:
    def harm(directory: Path) -> None:
        file = directory / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return harm


def written(name: str, content: bytes | str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def index(**weight_map: object) -> Callable[[Path], object]:
    return written("model.safetensors.index.json", json.dumps({"weight_map": weight_map}))


def safetensors(header: object, data: bytes = bytes(8)) -> Callable[[Path], object]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return written("model.safetensors", struct.pack("<Q", len(text)) + text + data)


def tensor(begin: int, end: int, shape: Any, dtype: Any = "F16") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Callable[[Path], object]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as content:
        for name, data in members:
            content.writestr(name, data)
    return written("weights.npz", packed.getvalue())


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def variables(*each: bytes, n: int | None = None, aliases: bytes = struct.pack("<I", 0)) -> Callable[[Path], object]:
    start = struct.pack("<IH12sII", 6, 12, b"WhisperSpec\0", 3, len(each) if n is None else n)
    return written("model.bin", start + b"".join(each) + aliases)


def variable(name: str, shape: tuple[int, ...], kind: int, data: bytes, n_bytes: int | None = None) -> bytes:
    sizes = struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    stored = len(data) if n_bytes is None else n_bytes
    return struct.pack("<H", len(name)) + name.encode() + sizes + struct.pack("<BI", kind, stored) + data


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def harm(directory: Path) -> None:
        (directory / name).unlink()
        make(directory / name)

    return harm


def _nan(directory: Path) -> None:
    bias = TENSORS["decoder.ln.bias"].copy()
    bias[1] = np.nan
    build.write_mlx(directory, TENSORS | {"decoder.ln.bias": bias}, SMALL, heads=HEADS)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def ggml(*parts: bytes, tokens: bytes = struct.pack("<i", 0), ftype: int = 1, **dims: int) -> Callable[[Path], object]:
    """A file of the small model's size, or of other `dims`, with these tensors."""
    content = ggml_files.start(replace(SMALL, **dims), ftype, ())[:-4] + tokens + b"".join(parts)
    return written(GGML, content)


def _twice(directory: Path) -> None:
    with (directory / GGML).open("ab") as stream:
        stream.write(ggml_files.tensor("decoder.ln.bias", [4], 0, bytes(16)))


_BIAS = "decoder.ln.bias"
_NESTED = "[" * 100_000
_LISTS = f"[{'[],' * 1_300_000}0]"
_ZEROS = np.zeros(1 << 26, np.int8)
_BOMB_HEADER = "{'descr': '|i1', 'fortran_order': False, 'shape': (%d,), }"
CASES: dict[str, Case] = {
    "config nested": Case("huggingface", written("config.json", _NESTED), "nested too deeply"),
    "config too large": Case("huggingface", written("config.json", " " * (5 << 20)), "expected at most"),
    "config of a million lists": Case("huggingface", written("config.json", _LISTS), "got a JSON list"),
    "config with a long number": Case("huggingface", written("config.json", '{"d_model": ' + "9" * 5000), "not valid"),
    "config of half a character": Case("huggingface", config(model_type="\ud800\n" * 999), "expected 'whisper'"),
    "config is a pipe": Case("huggingface", replaced("config.json", os.mkfifo), "not a regular file"),
    "config is a device": Case(
        "huggingface", replaced("config.json", lambda path: path.symlink_to("/dev/zero")), "not a regular file"
    ),
    "config is a folder": Case("huggingface", replaced("config.json", Path.mkdir), "config.json"),
    "2^40 layers": Case("mlx npz", config(n_text_layer=2**40), "got n_text_layer = 1099511627776, expected 1 to 128"),
    "2^40 tokens": Case("mlx npz", config(n_vocab=2**40), "got n_vocab = 1099511627776"),
    "no heads": Case("mlx npz", config(n_text_head=0), "expected a positive whole number"),
    "heads that do not divide": Case("mlx npz", config(n_text_head=3), "3 heads do not divide a state of 4"),
    "another state": Case("mlx npz", config(n_text_state=8), "is not the decoder's"),
    "a fraction of a layer": Case("mlx npz", config(n_text_layer=1.5), "got n_text_layer = 1.5"),
    "NaN": Case("mlx npz", _nan, "decoder.ln.bias holds NaN"),
    "a head outside": Case("ctranslate2", config(alignment_heads=[[0, 2**40]]), "does not exist in a decoder of"),
    "a head twice": Case("ctranslate2", config(alignment_heads=[[0, 0]] * 99), "some of them twice"),
    "heads that are none": Case("ctranslate2", config(alignment_heads=[["0", 0.5]]), "expected [[layer, head], ...]"),
    "a shard elsewhere": Case("huggingface in shards", index(a="../x.safetensors"), "got '../x.safetensors'"),
    "a shard at the root": Case("huggingface in shards", index(a="/etc/passwd"), "got '/etc/passwd'"),
    "a shard of two lines": Case("huggingface in shards", index(a="a\n.safetensors"), r"got 'a\n.safetensors'"),
    "300 shards": Case(
        "huggingface in shards", index(**{f"t{n}": f"{n}.safetensors" for n in range(300)}), "got 300 files"
    ),
    "no shards": Case("huggingface in shards", index(), "got 0 files"),
    "shards in a list": Case(
        "huggingface in shards", written("model.safetensors.index.json", '{"weight_map": ["x"]}'), "got weight_map"
    ),
    "a header of 2^63": Case(
        "huggingface", written("model.safetensors", struct.pack("<Q", 2**63) + b"{}"), "truncated"
    ),
    "a header nested": Case("huggingface", safetensors(_NESTED.encode()), "nested too deeply"),
    "a header that is a list": Case("huggingface", safetensors([1]), "expected an object"),
    "tensors that overlap": Case(
        "huggingface", safetensors({"a": tensor(0, 8, [4]), "b": tensor(0, 8, [4])}), "expected 8 bytes"
    ),
    "a gap between tensors": Case("huggingface", safetensors({"a": tensor(4, 8, [2])}), "expected 4 bytes"),
    "bytes that no tensor has": Case("huggingface", safetensors({"a": tensor(0, 4, [2])}), "expected"),
    "a tensor beyond the file": Case("huggingface", safetensors({"a": tensor(0, 2**41, [2**30, 2**10])}), "is at"),
    "a shape that overflows": Case("huggingface", safetensors({"a": tensor(0, 8, [2**32, 2**32])}), "has shape"),
    "an empty shape": Case("huggingface", safetensors({"a": tensor(0, 0, [0, 2**62])}), "has shape"),
    "a negative shape": Case("huggingface", safetensors({"a": tensor(0, 8, [-2, -2])}), "has shape"),
    "a type that is a list": Case("huggingface", safetensors({"a": tensor(0, 8, [4], ["F16"])}), "has no dtype"),
    "offsets that are texts": Case(
        "huggingface", safetensors({"a": {**tensor(0, 8, [4]), "data_offsets": "08"}}), "no"
    ),
    "a file of 2^40 zeros": Case("huggingface", replaced("model.safetensors", _sparse), "expected at most"),
    "weights that lead nowhere": Case(
        "mlx safetensors", replaced("weights.safetensors", lambda path: path.symlink_to("nowhere")), "No such file"
    ),
    "a zip bomb": Case(
        "mlx npz",
        archive(("a.npy", npy(_BOMB_HEADER % len(_ZEROS), _ZEROS.tobytes())), compression=zipfile.ZIP_DEFLATED),
        "which no weights do",
    ),
    "a zip in LZMA": Case("mlx npz", archive(("a.npy", b"x" * 999), compression=zipfile.ZIP_LZMA), "deflate"),
    "100,000 members": Case(
        "mlx npz", archive(*((f"{n:06}.npy", b"") for n in range(100_000))), "got a list of members of"
    ),
    "an array of objects": Case(
        "mlx npz", archive(("a.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"))), "no array"
    ),
    "an array of 2^40": Case("mlx npz", archive(("a.npy", npy(_BOMB_HEADER % 2**40, b"12"))), "expected at most 4"),
    "an array header that is code": Case("mlx npz", archive(("a.npy", npy("__import__('os').abort()"))), "no array"),
    "2^32 variables": Case("ctranslate2", variables(n=2**32 - 1), "got 4294967295 variables"),
    "2^32 aliases": Case("ctranslate2", variables(aliases=struct.pack("<I", 2**32 - 1)), "got 4294967295 variables"),
    "a variable beyond the file": Case(
        "ctranslate2", variables(variable("a", (2**30,), 1, b"", 2**30)), "truncated: got"
    ),
    "a variable whose size overflows": Case(
        "ctranslate2", variables(variable("a", (2**31 - 1,) * 3, 0, b"", 4)), "has 4 bytes, expected"
    ),
    "an empty variable": Case("ctranslate2", variables(variable("a", (0, 2**32 - 1), 0, b"")), "has shape"),
    "a scale that spreads": Case(
        "ctranslate2",
        variables(variable("a", (1, 50_000), 1, bytes(50_000)), variable("a_scale", (50_000, 1), 0, b"\1" * 200_000)),
        "its scale is of another shape",
    ),
    "a scale of zero": Case(
        "ctranslate2", variables(variable("a", (2,), 1, b"12"), variable("a_scale", (), 0, bytes(4))), "its scale is"
    ),
    "heads in a table": Case(
        "ctranslate2",
        lambda directory: _with_heads(directory, variable("encoder/num_heads", (2,), 2, b"1234")),
        "encoder/num_heads is int16 of (2,)",
    ),
    "heads below zero": Case(
        "ctranslate2",
        lambda directory: _with_heads(directory, variable("encoder/num_heads", (), 2, b"\xfe\xff")),
        "got n_audio_head = -2",
    ),
    "another magic": Case("ggml", written(GGML, b"GGUF" + bytes(100)), "begins with b'GGUF', expected b'lmgg'"),
    "an empty file": Case("ggml", written(GGML, b""), "cannot be read"),
    "2^31 tokens": Case("ggml", ggml(tokens=struct.pack("<i", 2**31 - 1)), "got 2147483647 tokens"),
    "fewer than no tokens": Case("ggml", ggml(tokens=struct.pack("<i", -1)), "got -1 tokens"),
    "a token of 2^31 bytes": Case("ggml", ggml(tokens=struct.pack("<2i", 1, 2**31 - 1)), "a token of 2147483647 bytes"),
    "a token beyond the file": Case("ggml", ggml(tokens=struct.pack("<2i", 1, 500)), "truncated"),
    "2^31 layers": Case("ggml", ggml(n_text_layer=2**31 - 1), "got n_text_layer = 2147483647"),
    "less than no layers": Case("ggml", ggml(n_text_layer=-1), "got n_text_layer = -1"),
    "filters of 2^31 frequencies": Case(
        "ggml",
        written(GGML, ggml_files.start(SMALL, 1, ())[:52] + struct.pack("<i", 2**31 - 1)),
        "got mel filters of (4, 2147483647)",
    ),
    "no tensors": Case("ggml", ggml(), "tensors are missing"),
    "a tensor of 2^31 sizes": Case("ggml", ggml(struct.pack("<3i", 2**31 - 1, 3, 0) + b"abc"), "of 2147483647 sizes"),
    "a name of 2^31 bytes": Case("ggml", ggml(struct.pack("<3i", 1, 2**31 - 1, 0)), "name of 2147483647 bytes"),
    "a tensor of another size": Case(
        "ggml", ggml(ggml_files.tensor(_BIAS, [2**31 - 1], 0, b"")), "has shape (2147483647,), expected (4,)"
    ),
    "an unknown tensor": Case("ggml", ggml(ggml_files.tensor("a\n\x1b", [1 << 30], 0, b"")), r"tensor 'a\n\x1b'"),
    "k-quants": Case("ggml", ggml(ggml_files.tensor(_BIAS, [4], 12, b"")), "has type number 12; expected one of f32"),
    "blocks of half a row": Case(
        "ggml", ggml(ggml_files.tensor(_BIAS, [4], 8, b""), ftype=2007), "q8_0, in which a row of 4 cannot be"
    ),
    "blocks of the first version": Case(
        "ggml",
        ggml(ggml_files.tensor(_BIAS, [32], 8, b""), ftype=1007, n_audio_state=32, n_text_state=32),
        "blocks are of version 1, expected 2",
    ),
    "a tensor beyond the end": Case("ggml", ggml(ggml_files.tensor(_BIAS, [4], 0, b"1234")), "truncated"),
    "a tensor twice": Case("ggml", _twice, "decoder.ln.bias is there twice"),
}


def _with_heads(directory: Path, heads: bytes) -> None:
    """Put another number of heads in front of the variables, and call the old one otherwise."""
    file = directory / "model.bin"
    content = file.read_bytes().replace(b"encoder/num_heads", b"encoder/num_hands")
    start = struct.calcsize("<IH12sI")
    (n,) = struct.unpack_from("<I", content, start)
    file.write_bytes(content[:start] + struct.pack("<I", n + 1) + heads + content[start + 4 :])


def make(name: str, directory: Path) -> Path:
    """Write a case into a directory of its own."""
    case = CASES[name]
    WRITERS[case.layout](directory)
    case.harm(directory)
    return directory
