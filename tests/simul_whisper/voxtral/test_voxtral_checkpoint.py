"""A Voxtral in any of the layouts is one and the same model."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper.blas import mx
from simul_whisper.voxtral.checkpoint import open_voxtral
from simul_whisper.voxtral.dims import expected_shapes
from tests import voxtral_files
from tests.voxtral_files import DIMS, Tensors


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return voxtral_files.random_tensors()


@pytest.mark.parametrize("n_shards", [1, 3])
def test_hugging_face_s_layout_is_read(tmp_path: Path, tensors: Tensors, n_shards: int) -> None:
    directory = voxtral_files.write_huggingface(tmp_path / "voxtral", tensors, n_shards=n_shards)
    weights = open_voxtral("voxtral", directory)
    assert weights.dims == DIMS
    assert len(weights.files) == n_shards
    assert weights.tokenizer_file == directory / "tekken.json"
    assert set(weights.tensors) == set(expected_shapes(DIMS)) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(weights.tensors[name], tensor, name)
        assert weights.tensors.shape(name) == tensor.shape


def test_mistral_s_layout_is_the_same_model(tmp_path: Path, tensors: Tensors) -> None:
    weights = open_voxtral("voxtral", voxtral_files.write_consolidated(tmp_path / "voxtral", tensors))
    assert weights.dims == DIMS
    assert set(weights.tensors) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(weights.tensors[name], tensor, name)


def test_of_two_layouts_the_one_that_is_whole_is_read(tmp_path: Path, tensors: Tensors) -> None:
    """Other programs download Mistral's layout alone, with the index of the other."""
    directory = voxtral_files.write_huggingface(tmp_path / "voxtral", tensors)
    voxtral_files.write_consolidated(directory, tensors)
    assert len(open_voxtral("voxtral", directory).files) == 3
    (directory / "model-00002-of-00003.safetensors").unlink()
    weights = open_voxtral("voxtral", directory)
    assert [file.name for file in weights.files] == ["consolidated.safetensors"]
    name = "language.layers.0.attention.query.weight"
    np.testing.assert_array_equal(weights.tensors[name], tensors[name])


def test_a_quantised_model_is_kept_as_it_is(tmp_path: Path, tensors: Tensors) -> None:
    weights = open_voxtral("voxtral", voxtral_files.write_mlx(tmp_path / "voxtral", tensors))
    assert weights.dims == DIMS
    for name, tensor in tensors.items():
        module = name.removesuffix(".weight")
        if module not in weights.packings:
            np.testing.assert_array_equal(weights.tensors[name], tensor, name)
            continue
        packing = weights.packings[module]
        weight, scales, biases = (
            mx.array(weights.tensors[f"{module}.{part}"]) for part in ("weight", "scales", "biases")
        )
        whole = np.asarray(mx.dequantize(weight, scales, biases, packing.group_size, packing.bits))
        assert np.abs(whole - tensor).mean() < 0.3 * np.abs(tensor).mean()
    assert weights.packings["language.layers.0.attention.key"].bits == 8
    assert weights.packings["language.layers.1.attention.key"].bits == 4


def test_the_bits_of_bfloat16_are_handed_out_too(tmp_path: Path, tensors: Tensors) -> None:
    weights = open_voxtral("voxtral", voxtral_files.write_huggingface(tmp_path / "voxtral", tensors))
    for name in ("encoder.conv1.weight", "language.layers.1.mlp.down.weight"):
        assert weights.tensors.is_bfloat16(name)
        bits = mx.array(weights.tensors.as_stored(name)).view(mx.bfloat16)
        np.testing.assert_array_equal(np.asarray(bits.astype(mx.float32)), tensors[name])


def test_the_two_models_are_told_apart_by_their_sizes(tmp_path: Path) -> None:
    """As published: the same encoder, another language model; nothing but the headers is read."""
    shared: dict[str, Any] = {
        "n_audio_state": 1280,
        "n_audio_head": 20,
        "n_audio_layer": 32,
        "head_dim": 128,
        "n_vocab": 131072,
    }
    mini: dict[str, Any] = {"n_text_state": 3072, "n_text_layer": 30, "n_text_mlp": 8192}
    small: dict[str, Any] = {"n_text_state": 5120, "n_text_layer": 40, "n_text_mlp": 32768}
    for sizes, n_tensors, n_bytes in ((mini, 761, 9.35e9), (small, 851, 48.5e9)):
        dims = replace(DIMS, n_text_head=32, n_text_kv_head=8, **shared, **sizes)
        weights = open_voxtral("voxtral", voxtral_files.write_zeros(tmp_path / str(n_tensors), dims, n_shards=11))
        assert weights.dims == dims
        assert (len(weights.tensors), weights.dims.n_audio_tokens) == (n_tensors, 375)
        assert sum(map(weights.tensors.n_bytes, weights.tensors)) == pytest.approx(n_bytes, rel=0.01)


def test_a_model_whose_output_is_its_embedding_is_read(tmp_path: Path) -> None:
    dims = replace(DIMS, tied=True)
    tensors = voxtral_files.random_tensors(dims)
    for write in (voxtral_files.write_huggingface, voxtral_files.write_consolidated, voxtral_files.write_mlx):
        assert open_voxtral("voxtral", write(tmp_path / write.__name__, tensors, dims)).dims == dims


def test_an_older_or_newer_config_says_the_same(tmp_path: Path, tensors: Tensors) -> None:
    """Transformers 5 moved rotary embedding; Mistral's file need not say how long audio and text may be."""
    directory = voxtral_files.write_huggingface(tmp_path / "hugging face", tensors)
    config = voxtral_files.config_of(DIMS)
    config["text_config"]["rope_parameters"] = {"rope_theta": config["text_config"].pop("rope_theta")}
    voxtral_files.write_json(directory / "config.json", config)
    assert open_voxtral("voxtral", directory).dims == DIMS
    directory = voxtral_files.write_consolidated(tmp_path / "mistral", tensors)
    params = voxtral_files.params_of(DIMS)
    del params["max_seq_len"]
    params["multimodal"]["whisper_model_args"]["encoder_args"]["max_source_positions"] = None
    voxtral_files.write_json(directory / "params.json", params)
    assert open_voxtral("voxtral", directory).dims == replace(DIMS, n_text_ctx=131_072)


def test_its_weights_have_a_digest(tmp_path: Path, tensors: Tensors) -> None:
    weights = open_voxtral("voxtral", voxtral_files.write_huggingface(tmp_path / "voxtral", tensors))
    whole = b"".join(file.read_bytes() for file in sorted(weights.directory.glob("*.safetensors")))
    assert weights.digest == hashlib.sha256(whole).hexdigest()
