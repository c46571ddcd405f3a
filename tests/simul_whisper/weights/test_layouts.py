"""A model means the same in every layout, and a damaged one is refused with WeightsError."""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.blas import mx
from simul_whisper.errors import WeightsError
from simul_whisper.weights import Weights
from simul_whisper.weights.ctranslate2 import read_variables
from simul_whisper.weights.directory import load_directory
from tests.simul_whisper.weights import build

TENSORS = build.random_tensors()
WRITERS: dict[str, Callable[[Path], Path]] = {
    "ctranslate2": lambda path: build.write_ctranslate2(path, TENSORS),
    "mlx npz": lambda path: build.write_mlx(path, TENSORS),
    "mlx safetensors": lambda path: build.write_mlx(path, TENSORS, file="weights.safetensors"),
    "mlx newer name": lambda path: build.write_mlx(path, TENSORS, file="model.safetensors"),
    "huggingface": lambda path: build.write_huggingface(path, TENSORS),
    "huggingface without prefix": lambda path: build.write_huggingface(path, TENSORS, prefix=""),
    "huggingface in shards": lambda path: build.write_huggingface(path, TENSORS, n_shards=3),
    "huggingface float32": lambda path: build.write_huggingface(path, TENSORS, dtype=mx.float32),
}


def load(directory: Path) -> Weights:
    return load_directory("model", directory)


def largest_difference(weights: Weights, expected: build.Tensors = TENSORS) -> float:
    assert weights.tensors.keys() == expected.keys()
    return max(float(np.abs(weights.tensors[name] - expected[name]).max()) for name in expected)


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same_model(layout: str, tmp_path: Path) -> None:
    weights = load(WRITERS[layout](tmp_path))
    assert weights.dims == build.DIMS
    assert weights.alignment_heads == build.HEADS
    assert weights.tokenizer_file == tmp_path / "tokenizer.json"
    assert weights.directory == tmp_path
    assert largest_difference(weights) == 0


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    weights = load(build.write_huggingface(tmp_path, TENSORS, dtype=mx.bfloat16))
    assert {tensor.dtype for tensor in weights.tensors.values()} == {np.dtype(np.float32)}
    assert largest_difference(weights) <= max(np.abs(tensor).max() for tensor in TENSORS.values()) / 256


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("file", ["weights.npz", "weights.safetensors"])
def test_quantised_mlx_is_within_half_a_step(bits: int, file: str, tmp_path: Path) -> None:
    weights = load(build.write_mlx(tmp_path, TENSORS, file=file, bits=bits))
    spread = max(float(np.ptp(tensor)) for tensor in TENSORS.values())
    assert 0 < largest_difference(weights) <= spread / (2**bits - 1)


@pytest.mark.parametrize(("quantization", "steps"), [("int8", 127), ("int16", 1024)])
def test_quantised_ctranslate2_is_within_half_a_step(quantization: str, steps: int, tmp_path: Path) -> None:
    weights = load(build.write_ctranslate2(tmp_path, TENSORS, quantization=quantization))
    largest = max(float(np.abs(tensor).max()) for tensor in TENSORS.values())
    assert 0 < largest_difference(weights) <= largest / steps / 2 * 1.01


def test_bfloat16_in_model_bin_is_read_as_float32(tmp_path: Path) -> None:
    # By hand, because CTranslate2 needs PyTorch to write it: 1.0 and -2.5 are the upper halves of their float32.
    header = struct.pack("<IH12sII", 6, 12, b"WhisperSpec", 3, 1)
    variable = struct.pack("<H2sBIBI2H", 2, b"x", 1, 2, 5, 4, 0x3F80, 0xC020)
    (tmp_path / "model.bin").write_bytes(header + variable + struct.pack("<I", 0))
    found = read_variables(tmp_path / "model.bin")["x"]
    assert found.dtype == np.float32
    assert found.tolist() == [1.0, -2.5]


def test_aliases_of_quantised_variables_take_their_scale(tmp_path: Path) -> None:
    twins = {name: TENSORS[name.replace("blocks.1", "blocks.0")] for name in TENSORS}
    weights = load(build.write_ctranslate2(tmp_path, twins, quantization="int8"))
    assert 0 < largest_difference(weights, twins) < 0.03


def test_digest_is_that_of_the_file_or_of_its_shards_in_order(tmp_path: Path) -> None:
    weights = load(build.write_huggingface(tmp_path, TENSORS, n_shards=2))
    first, second = sorted(tmp_path.glob("model-*"))
    assert weights.digest == hashlib.sha256(first.read_bytes() + second.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def model_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dims = replace(build.DIMS, n_audio_state=4, n_text_state=4, n_audio_layer=1, n_text_layer=1)
    path = tmp_path_factory.mktemp("small")
    return build.write_ctranslate2(path, build.random_tensors(dims), dims, quantization="int8") / "model.bin"


@settings(deadline=None)
@given(data=st.data())
def test_any_truncation_of_model_bin_is_refused(model_bin: Path, data: st.DataObject) -> None:
    whole = model_bin.read_bytes()
    cut = model_bin.with_name("cut.bin")
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(WeightsError, match=r"truncated|cannot be read"):
        read_variables(cut)


@settings(deadline=None)
@given(data=st.data())
def test_any_wrong_byte_of_model_bin_is_refused_or_read(model_bin: Path, data: st.DataObject) -> None:
    damaged = bytearray(model_bin.read_bytes())
    damaged[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    directory = model_bin.parent / "damaged"
    directory.mkdir(exist_ok=True)
    (directory / "model.bin").write_bytes(damaged)
    (directory / "tokenizer.json").touch()
    with suppress(WeightsError):
        load_directory("model", directory, build.HEADS)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [(0, 5, "got format version 5, expected 6"), (6, ord("X"), "got a 'XhisperSpec'"), (18, 9, "revision 9")],
)
def test_another_version_or_specification_is_refused(model_bin: Path, at: int, value: int, message: str) -> None:
    damaged = bytearray(model_bin.read_bytes())
    damaged[at] = value
    other = model_bin.with_name("other.bin")
    other.write_bytes(damaged)
    with pytest.raises(WeightsError, match=message):
        read_variables(other)


@pytest.mark.parametrize("layout", ["mlx npz", "mlx safetensors", "huggingface", "huggingface in shards"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_truncated_tensor_files_are_refused(layout: str, kept: float, tmp_path: Path) -> None:
    file = load(WRITERS[layout](tmp_path)).files[-1]
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(WeightsError, match=re.escape(str(file))):
        load(tmp_path)


@pytest.mark.parametrize("write", [build.write_mlx, build.write_huggingface])
def test_a_missing_unknown_or_wrong_tensor_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    name = "decoder.blocks.1.mlp1.bias"
    with pytest.raises(WeightsError, match=f"missing, the first is {name}"):
        load(write(tmp_path, {key: value for key, value in TENSORS.items() if key != name}))
    with pytest.raises(WeightsError, match=rf"{name} has shape \(3,\), expected \(256,\)"):
        load(write(tmp_path, TENSORS | {name: np.zeros(3, np.float16)}))
    with pytest.raises(WeightsError, match="unknown tensors"):
        load(write(tmp_path, TENSORS | {"decoder.blocks.3.mlp1.bias": np.zeros(3, np.float16)}))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    build.write_huggingface(tmp_path, TENSORS, n_shards=2)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match="model-00002-of-00002"):
        load(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("n_vocab", "50"), ("n_text_layer", 0), ("n_mels", None), ("n_mels", True)])
def test_a_wrong_config_is_refused(key: str, value: object, tmp_path: Path) -> None:
    build.write_mlx(tmp_path, TENSORS)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))
    with pytest.raises(WeightsError, match=rf"config\.json: got {key} = "):
        load(tmp_path)


def test_heads_that_do_not_divide_the_state_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="5 heads do not divide a state of 64"):
        load(build.write_mlx(tmp_path, TENSORS, replace(build.DIMS, n_text_head=5)))


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_damaged_config_is_refused(text: str, tmp_path: Path) -> None:
    build.write_huggingface(tmp_path, TENSORS)
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match=r"config\.json"):
        load(tmp_path)


def test_learned_encoder_positions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "positions", lambda dims: np.zeros((dims.n_audio_ctx, dims.n_audio_state), np.float32))
    for write in (build.write_ctranslate2, build.write_huggingface):
        with pytest.raises(WeightsError, match="sinusoids"):
            load(write(tmp_path / write.__name__, TENSORS))


def test_a_directory_without_weights_is_told_what_it_has_and_lacks(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(WeightsError, match=r"got notes\.txt, expected one of .*model\.bin.*npz.*model\.safetensors"):
        load(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(WeightsError, match="PyTorch"):
        load(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    build.write_huggingface(tmp_path, TENSORS)
    build.write_json(tmp_path / "config.json", {"model_type": "bert"})
    with pytest.raises(WeightsError, match="got model_type = 'bert', expected 'whisper'"):
        load(tmp_path)


def test_without_a_tokenizer_one_is_asked_for(tmp_path: Path) -> None:
    build.write_mlx(tmp_path, TENSORS)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"tokenizer\.json.*simul-whisper\[embedded\]"):
        load(tmp_path)
