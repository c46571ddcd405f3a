"""A Voxtral in any of the layouts is one and the same model."""

from pathlib import Path

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
