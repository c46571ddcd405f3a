"""A Voxtral's encoder and projector as one Core ML package, from every layout of its files."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from simul_whisper import ConfigError, WeightsError
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.package import convert
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.encoders.fallback import probe
from simul_whisper.voxtral.checkpoint import VoxtralWeights, open_voxtral
from simul_whisper.voxtral.conversion import convert_any, convert_voxtral, encoder_source
from simul_whisper.voxtral.encoder import MlxVoxtralEncoder
from simul_whisper.weights import Weights
from tests import voxtral_files

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

TENSORS = voxtral_files.random_tensors()
EXACT = Conversion(precision="float32")
DIMS = voxtral_files.DIMS


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> VoxtralWeights:
    directory = tmp_path_factory.mktemp("models") / "hearing"
    return open_voxtral("hearing", voxtral_files.write_huggingface(directory, TENSORS))


def features_of(package: Path, weights: VoxtralWeights) -> NDArray[np.float32]:
    source, model = encoder_source(weights), ReferenceModel(package)
    encoder = CoreMLEncoder(model, model.description, source.dims, projection=source.projection)
    return encoder.encode(probe(source.dims.n_mels))


def test_it_takes_mel_of_30_s_and_gives_a_vector_for_each_position_of_audio(
    tmp_path: Path, weights: VoxtralWeights
) -> None:
    made = convert_voxtral(weights, tmp_path)
    assert made.path == tmp_path / "ggml-hearing-encoder-projector.mlpackage"
    found = describe(made.path)
    (mel,), (vectors,) = found.inputs, found.outputs
    assert (mel.name, mel.dtype, mel.shapes) == ("logmel_data", "float32", ((1, 128, 3000),))
    assert (vectors.name, vectors.dtype, vectors.shapes) == ("output", "float32", ((1, 375, DIMS.n_text_state),))
    said = {"part": "encoder-projector", "model": "hearing", "shapes": "fixed", "precision": "float16"}
    assert found.metadata.items() >= said.items()
    assert parity(features_of(made.path, weights), MlxVoxtralEncoder(weights).encode(probe(128))).psnr_db > 60


def test_the_projector_reads_four_frames_in_a_row_as_one(tmp_path: Path, weights: VoxtralWeights) -> None:
    """In NumPy's words, of what the encoder alone gives."""
    alone = convert_voxtral(weights, tmp_path, replace(EXACT, shapes="fixed"), part="encoder").path
    frames = ReferenceModel(alone).predict({"logmel_data": probe(128).columns[None]})["output"]
    assert frames.shape == (1, 1500, DIMS.n_audio_state)
    wide = frames.reshape(375, 4 * DIMS.n_audio_state) @ TENSORS["projector.linear_1.weight"].T
    expected = (0.5 * wide * (1 + erf(wide / np.sqrt(2)))) @ TENSORS["projector.linear_2.weight"].T
    found = features_of(convert_voxtral(weights, tmp_path, EXACT).path, weights)
    assert parity(found, expected.astype(np.float32)).psnr_db > 120


def test_mistral_s_layout_gives_the_same_package_which_is_linked(tmp_path: Path, weights: VoxtralWeights) -> None:
    first = convert_voxtral(weights, tmp_path)
    other = open_voxtral("mistral", voxtral_files.write_consolidated(tmp_path / "mistral", TENSORS))
    second = convert_voxtral(other, tmp_path)
    assert second.linked_to == first.path
    assert second.path.is_symlink()
    assert second.path.name == "ggml-mistral-encoder-projector.mlpackage"


def test_another_projector_is_another_package_and_the_same_encoder(tmp_path: Path, weights: VoxtralWeights) -> None:
    """As Mini and Small would be, were their encoders the same."""
    dims = replace(DIMS, n_text_state=96)
    tensors = voxtral_files.random_tensors(dims) | {
        name: each for name, each in TENSORS.items() if name.startswith("encoder.")
    }
    other = open_voxtral("other", voxtral_files.write_huggingface(tmp_path / "other", tensors, dims))
    first = convert_voxtral(weights, tmp_path, part="encoder")
    assert first.path.name == "ggml-hearing-encoder.mlpackage"
    assert convert_voxtral(other, tmp_path, part="encoder").linked_to == first.path
    convert_voxtral(weights, tmp_path)
    made = convert_voxtral(other, tmp_path)
    assert made.linked_to is None
    assert describe(made.path).outputs[0].shapes == ((1, 375, 96),)


def test_an_encoder_that_a_whisper_has_too_is_linked(tmp_path: Path, weights: VoxtralWeights) -> None:
    encoder = {name: each for name, each in TENSORS.items() if name.startswith("encoder.")}
    whisper = Weights("parent", weights.dims.whisper, encoder, (), weights.tokenizer_file, weights.files)
    first = convert(whisper, tmp_path)
    made = convert_voxtral(weights, tmp_path, part="encoder")
    assert made.linked_to == first.path
    # With its projector it is another program.
    assert convert_voxtral(weights, tmp_path).linked_to is None


def test_what_mlx_packed_is_expanded(tmp_path: Path) -> None:
    packed = open_voxtral("packed", voxtral_files.write_mlx(tmp_path / "packed", TENSORS))
    found = features_of(convert_voxtral(packed, tmp_path, EXACT).path, packed)
    assert parity(found, MlxVoxtralEncoder(packed).encode(probe(128))).psnr_db > 120


def test_compressed_weights_are_compared_with_mlx(tmp_path: Path, weights: VoxtralWeights) -> None:
    made = convert_voxtral(weights, tmp_path, Conversion(quantize="int8"))
    assert made.psnr_db is not None
    assert 20 < made.psnr_db < 60
    likeness = parity(features_of(made.path, weights), MlxVoxtralEncoder(weights).encode(probe(128)))
    assert made.psnr_db == pytest.approx(likeness.psnr_db, abs=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"conversion": Conversion(shapes="range")}, "windows of 30 s only, got shapes = range"),
        ({"part": "decoder"}, "its language model runs in MLX"),
        ({"part": "all"}, "got part = all of a Voxtral model, expected encoder or encoder[+]projector"),
        ({"alignment_heads": ((0, 0),)}, "alignment heads concern the decoder only"),
        ({"name": "../outside"}, "got name = "),
    ],
)
def test_what_a_voxtral_has_not_is_refused(
    tmp_path: Path, weights: VoxtralWeights, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        convert_any(str(weights.directory), tmp_path / "models", **options)
    assert not (tmp_path / "models").exists()


def test_a_whisper_has_no_projector(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny.en: this is no Voxtral model, so it has no projector"):
        convert_any("tiny.en", tmp_path, part="encoder+projector")


def test_the_realtime_model_is_refused_by_name(tmp_path: Path) -> None:
    directory = voxtral_files.write_huggingface(tmp_path / "model", TENSORS)
    config = voxtral_files.config_of(DIMS) | {"model_type": "voxtral_realtime"}
    voxtral_files.write_json(directory / "config.json", config)
    with pytest.raises(WeightsError, match="Voxtral Realtime"):
        convert_any(str(directory), tmp_path)
