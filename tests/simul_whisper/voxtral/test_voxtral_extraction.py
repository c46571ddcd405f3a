"""The encoder's weights of a Voxtral as a file of their own, read back by MLX."""

from pathlib import Path

import numpy as np
import pytest

from simul_whisper import ConfigError
from simul_whisper.blas import mx
from simul_whisper.network import sinusoids
from simul_whisper.voxtral.checkpoint import VoxtralWeights, open_voxtral
from simul_whisper.voxtral.extraction import extract
from tests import voxtral_files
from tests.voxtral_files import DIMS

TENSORS = voxtral_files.random_tensors()
POSITIONS = "audio_tower.embed_positions.weight"


@pytest.fixture
def weights(tmp_path: Path) -> VoxtralWeights:
    return open_voxtral("hearing", voxtral_files.write_huggingface(tmp_path / "hearing", TENSORS))


def tensors_in(*files: Path) -> dict[str, mx.array]:
    found = dict[str, mx.array]()
    for file in files:
        loaded = mx.load(str(file), "safetensors")
        assert isinstance(loaded, dict)
        found |= loaded
    return found


def test_they_are_those_of_the_checkpoint_bit_by_bit(tmp_path: Path, weights: VoxtralWeights) -> None:
    file = tmp_path / "new" / "encoder.safetensors"
    size_bytes = extract(weights, file)
    assert size_bytes == file.stat().st_size
    found, theirs = tensors_in(file), tensors_in(*weights.files)
    assert found.keys() == {name for name in theirs if name.startswith("audio_tower.")}
    for name in found.keys() - {POSITIONS}:
        assert found[name].dtype == mx.bfloat16
        assert mx.array_equal(found[name], theirs[name]), name
    np.testing.assert_array_equal(found[POSITIONS], sinusoids(DIMS.n_audio_ctx, DIMS.n_audio_state))
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_the_projector_comes_with_it_if_wanted(tmp_path: Path, weights: VoxtralWeights) -> None:
    extract(weights, tmp_path / "both.safetensors", "encoder+projector")
    found, theirs = tensors_in(tmp_path / "both.safetensors"), tensors_in(*weights.files)
    assert found.keys() == {name for name in theirs if not name.startswith("language_model.")}
    for number in (1, 2):
        name = f"multi_modal_projector.linear_{number}.weight"
        assert mx.array_equal(found[name], theirs[name])


def test_mistral_s_layout_gives_the_same_file(tmp_path: Path, weights: VoxtralWeights) -> None:
    other = open_voxtral("other", voxtral_files.write_consolidated(tmp_path / "mistral", TENSORS))
    for each, name in ((weights, "one"), (other, "two")):
        extract(each, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("dtype", [mx.float16, mx.float32])
def test_other_types_stay_too(tmp_path: Path, dtype: mx.Dtype) -> None:
    directory = voxtral_files.write_huggingface(tmp_path / "hearing", TENSORS, dtype=dtype)
    weights = open_voxtral("hearing", directory)
    extract(weights, tmp_path / "encoder.safetensors")
    found, theirs = tensors_in(tmp_path / "encoder.safetensors"), tensors_in(*weights.files)
    assert all(each.dtype == dtype for name, each in found.items() if name != POSITIONS)
    assert all(mx.array_equal(each, theirs[name]) for name, each in found.items() if name != POSITIONS)


def test_what_mlx_packed_is_expanded(tmp_path: Path) -> None:
    packed = open_voxtral("packed", voxtral_files.write_mlx(tmp_path / "packed", TENSORS))
    extract(packed, tmp_path / "encoder.safetensors", "encoder+projector")
    found = tensors_in(tmp_path / "encoder.safetensors")
    name = "projector.linear_1.weight"
    weight, scales, biases = mx.quantize(mx.array(TENSORS[name]).astype(mx.bfloat16), 32, 4)
    expected = mx.dequantize(weight, scales.astype(mx.float32), biases.astype(mx.float32), 32, 4)
    assert mx.array_equal(found["multi_modal_projector.linear_1.weight"], expected.astype(mx.float16))
    assert not [name for name in found if name.endswith((".scales", ".biases"))]


def test_a_failure_leaves_the_older_file(
    tmp_path: Path, weights: VoxtralWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "models" / "encoder.safetensors"
    file.parent.mkdir()
    file.write_text("older")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simul_whisper.voxtral.extraction._as_stored", full)
    with pytest.raises(ConfigError, match=r"encoder.safetensors: cannot be written: No space left on device"):
        extract(weights, file)
    assert file.read_text() == "older"
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(ConfigError, match="this is a directory"):
        extract(weights, file.parent)
