"""A Voxtral's encoder and projector run in Core ML where they may, and in MLX where they may not."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import AlignAttConfig, BackendError, EncoderNotLoadedError, ShapeConversionError, Stage, load_model
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.fetch import fetch_encoder
from simul_whisper.coreml.interface import Projection
from simul_whisper.coreml.parity import parity
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.encoders.fallback import FallbackEncoder, probe
from simul_whisper.errors import ModelNotFoundError
from simul_whisper.mel import Mel
from simul_whisper.voxtral.checkpoint import VoxtralWeights, open_voxtral
from simul_whisper.voxtral.conversion import convert_voxtral, projection_of
from simul_whisper.voxtral.encoder import MlxVoxtralEncoder
from simul_whisper.voxtral.encoder_choice import choose_voxtral_encoder
from tests import fixture_voxtral, voxtral_files
from tests.listener import every
from tests.simul_whisper.coreml.conftest import UNITS, Place, device
from tests.simul_whisper.coreml.devices import DEVICE, FailingDevice, GarbageDevice

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

TENSORS = voxtral_files.random_tensors()
SPEECH = probe(128)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of a model that is gone."""
    folder = tmp_path_factory.mktemp("converted")
    weights = open_voxtral("hearing", voxtral_files.write_huggingface(folder / "hearing", TENSORS))
    return convert_voxtral(weights, folder).path


@pytest.fixture
def weights(tmp_path: Path) -> VoxtralWeights:
    return open_voxtral("hearing", voxtral_files.write_huggingface(tmp_path / "hearing", TENSORS))


def chosen(place: Place, weights: VoxtralWeights, runtime: Any, **settings: Any) -> FallbackEncoder:
    values = {"model_path": str(weights.directory), "coreml_compute_units": UNITS, **settings}
    return choose_voxtral_encoder(AlignAttConfig.from_mapping(values), weights, place.reports.append, runtime)


@pytest.mark.parametrize("backend", ["auto", "coreml", "hybrid"])
def test_core_ml_runs_it_where_there_is_a_package(
    place: Place, package: Path, weights: VoxtralWeights, backend: str
) -> None:
    place.add(package)
    encoder = chosen(place, weights, device(), backend=backend)
    assert (encoder.status.backend, encoder.status.did_fallback, encoder.status.reason) == ("coreml", False, "")
    assert encoder.description == f"coreml (float16, {UNITS})"
    vectors = encoder.encode(SPEECH)
    assert vectors.shape == (375, weights.dims.n_text_state)
    assert parity(vectors, MlxVoxtralEncoder(weights).encode(SPEECH)).psnr_db > 60


def test_it_is_compiled_by_a_child_and_its_first_answer_compared(
    place: Place, package: Path, weights: VoxtralWeights
) -> None:
    found = place.add(package, compiled=False)
    assert chosen(place, weights, DEVICE, backend="coreml").is_coreml
    assert Stage.COMPILING_ANE in {report.stage for report in place.reports}
    assert chosen(place, weights, DEVICE).status.package_digest == describe(found).digest


def test_it_is_found_beside_the_weights_whatever_it_is_called(place: Place, weights: VoxtralWeights) -> None:
    made = convert_voxtral(weights, weights.directory, name="mine").path.absolute()
    place.note(made)
    mac = device()
    assert chosen(place, weights, mac).is_coreml
    assert mac.opened == [made]


def test_mlx_goes_on_where_core_ml_cannot_and_says_why(place: Place, package: Path, weights: VoxtralWeights) -> None:
    exact = MlxVoxtralEncoder(weights).encode(SPEECH)
    missing = chosen(place, weights, device(), backend="coreml")
    assert (missing.status.backend, missing.status.reason) == ("mlx", "Model not available")
    np.testing.assert_array_equal(missing.encode(SPEECH), exact)
    place.add(package)
    no_mac = chosen(place, weights, None, backend="coreml").status
    assert (no_mac.backend, no_mac.reason) == ("mlx", "ANE not supported: Core ML needs macOS")
    status = chosen(place, weights, device(), backend="mlx").status
    assert (status.backend, status.requested, status.did_fallback) == ("mlx", "mlx", False)


def test_a_window_on_which_core_ml_fails_is_encoded_by_mlx(
    place: Place, package: Path, weights: VoxtralWeights
) -> None:
    place.add(package)
    encoder = chosen(place, weights, FailingDevice(DEVICE.name, n_predictions=2))
    assert encoder.is_coreml
    found = [encoder.encode(SPEECH) for _ in range(3)]
    assert encoder.status.backend == "mlx"
    assert "Error computing NN outputs" in encoder.status.reason
    np.testing.assert_array_equal(found[2], MlxVoxtralEncoder(weights).encode(SPEECH))


def test_nonsense_is_refused(place: Place, package: Path, weights: VoxtralWeights) -> None:
    place.add(package)
    units = {"backend": "coreml", "coreml_compute_units": "CPU_AND_GPU"}
    encoder = chosen(place, weights, GarbageDevice(DEVICE.name), **units)
    assert encoder.status.backend == "mlx"
    assert "Core ML's output differs from the reference" in encoder.status.reason


def test_a_package_of_other_weights_is_left_out(place: Place, package: Path, tmp_path: Path) -> None:
    place.add(package)
    tensors = voxtral_files.random_tensors(seed=1)
    other = open_voxtral("hearing", voxtral_files.write_huggingface(tmp_path / "hearing", tensors))
    status = chosen(place, other, device(), backend="coreml").status
    assert status.backend == "mlx"
    assert "made from other weights" in status.reason


def test_a_package_of_another_width_is_of_another_model(package: Path, weights: VoxtralWeights) -> None:
    found, dims = describe(package), weights.dims.whisper
    for projection, width in ((Projection(4, 96), 96), (None, dims.n_audio_state)):
        with pytest.raises(EncoderNotLoadedError, match=f"got an encoder of width 64, expected {width}"):
            CoreMLEncoder(device().open(package, UNITS), found, dims, UNITS, projection)


def test_a_package_that_joins_another_number_of_frames_is_noticed(package: Path, weights: VoxtralWeights) -> None:
    projection = replace(projection_of(weights.dims), n_joined=2)
    model = device().open(package, UNITS)
    encoder = CoreMLEncoder(model, describe(package), weights.dims.whisper, UNITS, projection)
    with pytest.raises(ShapeConversionError, match="750"):
        encoder.encode(SPEECH)


@pytest.mark.parametrize(("n_frames", "n_vectors"), [(1500, 375), (1499, 375), (8, 2), (1, 1)])
def test_shorter_windows_are_filled_up_and_give_as_many_vectors_as_they_reach_into(
    package: Path, weights: VoxtralWeights, n_frames: int, n_vectors: int
) -> None:
    model, projection = device().open(package, UNITS), projection_of(weights.dims)
    encoder = CoreMLEncoder(model, describe(package), weights.dims.whisper, UNITS, projection)
    window = Mel(SPEECH.columns[:, : 2 * n_frames], n_frames)
    assert encoder.encode(window).shape == (n_vectors, weights.dims.n_text_state)


def test_the_text_of_the_hybrid_is_that_of_mlx_alone(place: Place) -> None:
    place.add(convert_voxtral(open_voxtral("voxtral", fixture_voxtral.DIRECTORY), Path("converted")).path)
    settings = {"model_path": str(fixture_voxtral.DIRECTORY), "backend": "hybrid", "coreml_compute_units": UNITS}
    hybrid, alone = load_model(AlignAttConfig.from_mapping(settings), coreml_runtime=device()), fixture_voxtral.model()
    assert hybrid.info.pipeline == "hybrid: encoder in Core ML, decoder in MLX"
    assert alone.info.pipeline == "MLX"
    speech = fixture_voxtral.held_out(0, n=6)
    found, expected = (fixture_voxtral.told(each, speech, every(1, speech.samples)) for each in (hybrid, alone))
    assert found == expected
    assert found.text.strip() == speech.text
    assert hybrid.info.encoder_backend == "coreml"


def test_no_other_backend_has_such_an_encoder(place: Place, weights: VoxtralWeights) -> None:
    with pytest.raises(BackendError, match="no encoder in ctranslate2; choose one of auto, coreml, mlx"):
        chosen(place, weights, None, encoder_backend="ctranslate2")


def test_there_is_none_on_the_hub(place: Place, weights: VoxtralWeights) -> None:
    for model in (str(weights.directory), "mistralai/Voxtral-Mini-3B-2507"):
        with pytest.raises(ModelNotFoundError, match="make one with: simul-whisper coreml convert MODEL"):
            fetch_encoder(model)
    assert place.reports == []
