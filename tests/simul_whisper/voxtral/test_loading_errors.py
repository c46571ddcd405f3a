"""What is wrong with the files of a Voxtral model is said in one clear line, before weights are read."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import AlignAttConfig, load_model
from simul_whisper.blas import mx
from simul_whisper.errors import WeightsError
from simul_whisper.voxtral.checkpoint import open_voxtral
from simul_whisper.voxtral.dims import VoxtralDims
from simul_whisper.weights.directory import load_directory
from tests import voxtral_files
from tests.hostile_files import only_our_errors
from tests.simul_whisper.weights import build
from tests.voxtral_files import DIMS

SMALL = replace(DIMS, n_audio_ctx=8, n_audio_layer=1, n_text_layer=1)
SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def tensors() -> voxtral_files.Tensors:
    return voxtral_files.random_tensors(SMALL)


@pytest.fixture
def model(tmp_path: Path, tensors: voxtral_files.Tensors) -> Path:
    return voxtral_files.write_huggingface(tmp_path / "model", tensors, SMALL)


def config(directory: Path, **changes: Any) -> None:
    """Change config.json; a change of text_config or audio_config is of that only."""
    file = directory / "config.json"
    values = json.loads(file.read_text())
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(values.get(key), dict) and isinstance(value, dict) else value
    voxtral_files.write_json(file, values)


def shard(directory: Path, change: Callable[[dict[str, mx.array]], object]) -> None:
    """Change the tensors of every shard."""
    for file in sorted(directory.glob("model-*.safetensors")):
        arrays = mx.load(str(file))
        assert isinstance(arrays, dict)
        arrays = {name: mx.array(array) for name, array in arrays.items()}
        change(arrays)
        mx.eval(arrays)
        file.unlink()
        mx.save_safetensors(str(file), arrays)


def dropped(end: str) -> Callable[[Path], object]:
    def change(arrays: dict[str, mx.array]) -> None:
        for name in [name for name in arrays if name.endswith(end)]:
            del arrays[name]

    return lambda directory: shard(directory, change)


def added(name: str) -> Callable[[Path], object]:
    """Add a tensor to every shard; N: the first name in it."""

    def change(arrays: dict[str, mx.array]) -> None:
        arrays[name.replace("N", min(arrays))] = mx.zeros((2, 2))

    return lambda directory: shard(directory, change)


def renamed(end: str, other: str) -> Callable[[Path], object]:
    def change(arrays: dict[str, mx.array]) -> None:
        for name in [name for name in arrays if name.endswith(end)]:
            arrays[other] = arrays.pop(name)

    return lambda directory: shard(directory, change)


def recast(end: str, dtype: mx.Dtype, times: int = 1) -> Callable[[Path], object]:
    def change(arrays: dict[str, mx.array]) -> None:
        arrays |= {name: (times * array).astype(dtype) for name, array in arrays.items() if name.endswith(end)}

    return lambda directory: shard(directory, change)


def without_weights(directory: Path) -> None:
    for file in directory.glob("model*"):
        file.unlink()


def of_another(directory: Path) -> None:
    """A shard of a model with wider feed-forward layers, such as that of Voxtral Small beside those of Mini."""
    dims = replace(SMALL, n_text_mlp=256)
    other = voxtral_files.write_huggingface(directory.parent / "other", voxtral_files.random_tensors(dims), dims)
    (other / SHARD).replace(directory / SHARD)


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing shard": (lambda d: (d / SHARD).unlink(), f"{SHARD}: this file of the model is missing; fetch the model"),
    "a shard of another model": (of_another, "is this file of another model?"),
    "a truncated shard": (lambda d: os.truncate(d / SHARD, 3000), f"{SHARD}: cannot be read: "),
    "an empty shard": (lambda d: (d / SHARD).write_bytes(b""), f"{SHARD}: cannot be read: truncated"),
    "no weights": (without_weights, "no weights here; expected model.safetensors, its shards and"),
    "no tokenizer": (lambda d: (d / "tekken.json").unlink(), "tekken.json is missing; put the model's tokenizer there"),
    "no config": (lambda d: (d / "config.json").unlink(), "this is no Voxtral model; expected config.json or params"),
    "a config that is no object": (lambda d: config(d, audio_config=3), "got audio_config = 3, expected an object"),
    "a damaged config": (lambda d: (d / "config.json").write_text("{"), "config.json: not valid JSON"),
    "an index that leaves": (
        lambda d: voxtral_files.write_json(d / INDEX, {"weight_map": {"x": "../x.safetensors"}}),
        "of this directory",
    ),
    "Voxtral Realtime": (
        lambda d: config(d, model_type="voxtral_realtime", architectures=["VoxtralRealtimeForConditionalGeneration"]),
        "this is Voxtral Realtime, another architecture, which is not supported; take Voxtral Mini or Small of 2507",
    ),
    "another size": (
        lambda d: config(d, text_config={"hidden_size": 5120}),
        "says n_text_state = 5120, but the tensors beside it have 64; these files belong to different models",
    ),
    "another number of layers": (lambda d: config(d, text_config={"num_hidden_layers": 40}), "says n_text_layer = 40"),
    "no number of heads": (
        lambda d: config(d, text_config={"num_attention_heads": None}),
        "config.json: does not say n_text_head",
    ),
    "half a head": (lambda d: config(d, text_config={"head_dim": 23}), "23 cannot be divided into 2 (rotary"),
    "heads of another width": (lambda d: config(d, text_config={"head_dim": 48}), "has shape (96, 64), expected (192"),
    "a number that is none": (lambda d: config(d, text_config={"rope_theta": "1e8"}), "got rope_theta = '1e8'"),
    "another rotary embedding": (
        lambda d: config(d, text_config={"rope_scaling": {"rope_type": "yarn", "factor": 4}}),
        "got rope_type = 'yarn', expected 'default'; this is not supported",
    ),
    "another activation": (lambda d: config(d, projector_hidden_act="relu"), "got projector_hidden_act = 'relu'"),
    "an unknown quantisation": (
        lambda d: config(d, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "expected MLX's, with a group_size of 32, 64 or 128",
    ),
    "an unknown quantisation of MLX": (
        lambda d: config(d, quantization={"group_size": 32, "bits": 4, "mode": "mxfp4"}),
        "expected MLX's, with a group_size of 32, 64 or 128",
    ),
    "a tensor less": (dropped("o_proj.weight"), "1 tensors are missing, the first is language.layers.0.attention.out"),
    "a tensor twice": (added("lora.weight"), "'lora.weight' is in the model twice"),
    "tensors more": (added("N.lora.weight"), "3 unknown tensors, the first is 'audio_tower"),
    "a tensor of another kind": (renamed("fc1.bias", "lora.weight"), "1 tensors are missing, the first is encoder"),
    "other positions": (recast("embed_positions.weight", mx.float16, -1), "positions are not Whisper's sinusoids"),
    "whole numbers": (recast("q_proj.weight", mx.int8), "has type I8, expected BF16 or F16 or F32"),
    "packed, but not said so": (renamed("fc1.bias", "audio_tower.layers.0.fc1.scales"), "no quantization, but"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_said(name: str, model: Path) -> None:
    harm, said = CASES[name]
    harm(model)
    with pytest.raises(WeightsError) as refused:
        open_voxtral("voxtral", model)
    assert said in str(refused.value)
    with only_our_errors():
        raise refused.value


def test_a_number_that_is_none_is_found_when_its_tensor_is_read(tmp_path: Path, tensors: voxtral_files.Tensors) -> None:
    name = "language.layers.0.mlp.up.weight"
    broken = tensors | {name: np.full_like(tensors[name], np.nan)}
    weights = open_voxtral("voxtral", voxtral_files.write_huggingface(tmp_path / "model", broken, SMALL))
    for read in (weights.tensors.__getitem__, weights.tensors.as_stored):
        read("language.layers.0.mlp.gate.weight")
        with pytest.raises(WeightsError, match=rf"{name} holds NaN or infinite numbers"):
            read(name)


def test_a_file_that_changed_meanwhile_is_not_read(model: Path) -> None:
    weights = open_voxtral("voxtral", model)
    for file in weights.files:
        file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(WeightsError, match="it has changed since the model was opened; open the model again"):
        weights.tensors["language.norm.weight"]
    for file in weights.files:
        file.unlink()
    with pytest.raises(WeightsError, match=r"cannot be read: .*No such file"):
        weights.tensors["language.norm.weight"]


def test_realtime_is_known_by_mistral_s_own_file(tmp_path: Path) -> None:
    params = voxtral_files.params_of(SMALL)
    params["multimodal"]["whisper_model_args"]["encoder_args"]["causal"] = True
    voxtral_files.write_json(tmp_path / "params.json", params)
    for load in (open_voxtral, load_directory):
        with pytest.raises(WeightsError, match="this is Voxtral Realtime"):
            load("voxtral", tmp_path)


@pytest.mark.parametrize("write", [voxtral_files.write_huggingface, voxtral_files.write_consolidated])
def test_each_kind_of_model_is_told_from_the_other(
    write: Callable[..., Path], tmp_path: Path, tensors: voxtral_files.Tensors
) -> None:
    with pytest.raises(WeightsError, match="this is a Voxtral model, expected Whisper"):
        load_directory("voxtral", write(tmp_path / "voxtral", tensors, SMALL))
    whisper = build.write_huggingface(tmp_path / "whisper", build.random_tensors())
    with pytest.raises(WeightsError, match="this is Whisper, not Voxtral"):
        open_voxtral("whisper", whisper)


@pytest.mark.parametrize(
    ("dims", "said"),
    [
        (SMALL, "got windows of 8 frames of 128 mel bands, expected 1500 of 80 or 128"),
        (
            replace(SMALL, n_audio_ctx=1500, n_text_ctx=400),
            "reads 400 positions at most, of which 30 s of audio are 375",
        ),
    ],
)
def test_a_model_that_cannot_read_a_window_of_30_s_is_refused(tmp_path: Path, dims: VoxtralDims, said: str) -> None:
    directory = voxtral_files.write_huggingface(tmp_path / "model", voxtral_files.random_tensors(dims), dims)
    with pytest.raises(WeightsError, match=rf"^{directory}: {said}"):
        load_model(AlignAttConfig(model_path=str(directory)))
