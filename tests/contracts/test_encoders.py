"""What every audio encoder keeps, whatever runs it: shape, type, any length of window, and the same features."""

import math

import numpy as np
import pytest

from simul_whisper import AlignAttConfig, BackendError, ConfigError
from simul_whisper.blas import mx
from simul_whisper.encoders import AudioEncoder, BatchingEncoder, Features
from simul_whisper.encoders.choice import choose_encoder
from simul_whisper.mel import HOPS_PER_FRAME, Mel, log_mel
from simul_whisper.weights import Weights, load_weights
from tests.conftest import Recording

BACKENDS: dict[str, dict[str, str]] = {
    "mlx": {"encoder_backend": "mlx"},
    "mlx-fastest": {"encoder_backend": "mlx", "quantization": "fastest"},
    "mlx-int8": {"encoder_backend": "mlx", "quantization": "int8"},
    "mlx-int4": {"encoder_backend": "mlx", "quantization": "int4"},
    "ctranslate2-float32": {"encoder_backend": "ctranslate2", "encoder_compute_type": "float32"},
    "ctranslate2-int8": {"encoder_backend": "ctranslate2", "encoder_compute_type": "int8"},
}
LEAST_DB = {"int8": 30, "int4": 30, "float": 60}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights("tiny.en")


@pytest.fixture(scope="module")
def mel(captions: Recording) -> Mel:
    """All of the recording and one second of silence."""
    return log_mel(captions.samples, 80, 16_000)


@pytest.fixture(scope="module")
def reference(weights: Weights, mel: Mel) -> Features:
    """Features in float32."""
    config = AlignAttConfig(encoder_backend="mlx", decoder_device="cpu")
    return choose_encoder(config, weights).encode(mel)


@pytest.fixture(scope="module", params=BACKENDS)
def encoder(request: pytest.FixtureRequest, weights: Weights) -> AudioEncoder:
    settings = BACKENDS[request.param]
    if settings["encoder_backend"] == "ctranslate2":
        pytest.importorskip("ctranslate2", exc_type=ImportError)
    return choose_encoder(AlignAttConfig.from_mapping(settings), weights)


def cut(mel: Mel, n_frames: int) -> Mel:
    """The first `n_frames`, with silence behind them where there are not so many."""
    n_hops = n_frames * HOPS_PER_FRAME
    silence = np.full((len(mel.columns), max(0, n_hops - mel.columns.shape[1])), mel.columns.min())
    return Mel(np.concatenate([mel.columns[:, :n_hops], silence], axis=1), min(n_frames, mel.content_frames))


def psnr_db(features: Features, reference: Features) -> float:
    error = np.sqrt(np.mean(np.square(features - reference, dtype=np.float64)))
    return 20 * math.log10(float(np.abs(reference).max()) / max(float(error), 1e-12))


@pytest.mark.parametrize("n_frames", [1, 2, 7, 500, 1500])
def test_windows_of_any_length_give_one_finite_vector_per_frame(
    encoder: AudioEncoder, weights: Weights, mel: Mel, n_frames: int
) -> None:
    window = cut(mel, n_frames)
    features = encoder.encode(window)
    assert features.shape == (window.n_frames, weights.dims.n_audio_state)
    assert window.n_frames == n_frames
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_the_same_window_gives_the_same_features(encoder: AudioEncoder, mel: Mel) -> None:
    first = encoder.encode(mel)
    encoder.encode(cut(mel, 7))
    np.testing.assert_array_equal(encoder.encode(mel), first)


def test_what_was_returned_is_not_overwritten_by_the_next_window(encoder: AudioEncoder, mel: Mel) -> None:
    first = encoder.encode(mel)
    kept = first.copy()
    encoder.encode(Mel(mel.columns[:, ::-1].copy(), mel.content_frames))
    np.testing.assert_array_equal(first, kept)


def test_all_encoders_give_the_same_features(encoder: AudioEncoder, mel: Mel, reference: Features) -> None:
    least_db = next(db for number, db in LEAST_DB.items() if number in encoder.description)
    assert psnr_db(encoder.encode(mel), reference) >= least_db


def test_the_description_names_the_number_type(weights: Weights) -> None:
    pytest.importorskip("ctranslate2", exc_type=ImportError)
    for compute_type in ("int8", "float32"):
        config = AlignAttConfig(encoder_backend="ctranslate2", encoder_compute_type=compute_type)
        assert choose_encoder(config, weights).description.startswith(f"ctranslate2 ({compute_type}, ")


def test_auto_says_what_it_chose(weights: Weights) -> None:
    description = choose_encoder(AlignAttConfig(), weights).description
    assert description.startswith(("mlx (", "ctranslate2 ("))
    assert "auto" not in description


def test_ctranslate2_that_is_not_installed_is_refused(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(BackendError, match=r"pip install 'simul-whisper\[cpu\]'"):
        choose_encoder(AlignAttConfig(encoder_backend="ctranslate2"), weights)


def test_a_number_type_that_the_device_lacks_is_refused(weights: Weights) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2", exc_type=ImportError)
    if "float16" in ctranslate2.get_supported_compute_types("cpu") or ctranslate2.get_cuda_device_count():
        pytest.skip("float16 runs here")
    with pytest.raises(BackendError, match="float16"):
        choose_encoder(AlignAttConfig(encoder_backend="ctranslate2", encoder_compute_type="float16"), weights)


@pytest.mark.skipif(mx.is_available(mx.gpu), reason="MLX has a GPU here")
def test_a_gpu_that_is_not_there_is_refused(weights: Weights) -> None:
    with pytest.raises(BackendError, match="no GPU"):
        choose_encoder(AlignAttConfig(encoder_backend="mlx", decoder_device="gpu"), weights)


@pytest.mark.parametrize("name", ["onnx", "CTranslate2", ""])
def test_an_unknown_backend_is_an_error_that_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="expected one of auto, coreml, mlx, ctranslate2"):
        AlignAttConfig(encoder_backend=name).validated()


def test_windows_are_encoded_together_as_each_alone(encoder: AudioEncoder, mel: Mel) -> None:
    assert isinstance(encoder, BatchingEncoder)
    windows = [Mel(mel.columns[:, start : start + 400], 150) for start in (0, 200, 500)]
    for found, alone in zip(encoder.encode_together(windows), map(encoder.encode, windows), strict=True):
        assert psnr_db(found, alone) > 60
