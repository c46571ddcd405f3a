"""A Voxtral whose encoder and projector have the widths of the real ones, on disk, written tensor by tensor.

Its weights are random, as large as keeps activations near 1; its language model is as small as that width allows.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.voxtral.dims import VoxtralDims, expected_shapes
from tests import voxtral_files

WIDE = replace(
    voxtral_files.DIMS,
    n_audio_state=1280,
    n_audio_head=20,
    n_text_state=3072,
    n_text_head=2,
    n_text_kv_head=1,
    n_text_layer=1,
    n_text_mlp=64,
)


def write_wide(directory: Path, n_layers: int) -> Path:
    """Hugging Face's layout in two shards, bfloat16: the audio's tensors, and all others."""
    dims = replace(WIDE, n_audio_layer=n_layers)
    voxtral_files.write_json(directory / "config.json", voxtral_files.config_of(dims))
    voxtral_files.write_tekken(directory / "tekken.json", dims.n_vocab)
    shapes, where = expected_shapes(dims), dict[str, str]()
    for number, is_audio in ((1, True), (2, False)):
        file = f"model-{number:05}-of-00002.safetensors"
        names = [name for name in shapes if name.startswith("language.") != is_audio]
        _write(directory / file, names, dims)
        where |= dict.fromkeys(map(voxtral_files.huggingface_name, names), file)
    voxtral_files.write_json(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    return directory


def _write(file: Path, names: list[str], dims: VoxtralDims) -> None:
    shapes, header, at = expected_shapes(dims), dict[str, Any](), 0
    for name in names:
        shape = shapes[name] if len(shapes[name]) < 3 else (shapes[name][0], shapes[name][2], shapes[name][1])
        end = at + 2 * int(np.prod(shape))
        entry = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        header[voxtral_files.huggingface_name(name)], at = entry, end
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            stream.write(_bfloat16(name, shapes[name]).data)


def _bfloat16(name: str, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return the bits of a tensor, in whatever order its numbers are."""
    random = np.random.default_rng(list(name.encode()))
    values = random.standard_normal(shape, np.float32)
    values *= np.float32(np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1)
    if len(shape) == 1 and name.endswith(".weight"):
        values += 1
    return (values.view(np.uint32) >> 16).astype(np.uint16)
