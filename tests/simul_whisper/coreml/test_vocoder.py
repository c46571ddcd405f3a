"""The Core ML vocoder: pieces that make the whole, what is refused, and how it takes part in the choice."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("coremltools", exc_type=ImportError)
pytest.importorskip("onnxruntime", exc_type=ImportError)

from simul_whisper import (
    CoreMLInferenceError,
    Progress,
    ShapeConversionError,
    SpeechConfig,
    Stage,
    UnsupportedSampleRateError,
    VocoderNotLoadedError,
)
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import Feature, describe
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.coreml.runtime import CoreMLModel, CoreMLRuntime
from simul_whisper.vocoders import VocoderFeatures
from simul_whisper.vocoders.choice import choose_vocoder
from simul_whisper.vocoders.coreml import CoreMLVocoder, frames_of
from simul_whisper.vocoders.fallback import FallbackVocoder
from simul_whisper.vocoders.onnx import OnnxVocoder
from simul_whisper.vocoders.voice_file import SplitVoice
from tests.simul_whisper.coreml.conftest import UNITS, Place
from tests.simul_whisper.coreml.devices import DEVICE, Device, FailingDevice, GarbageDevice, OverflowingDevice
from tests.simul_whisper.coreml.voices import FRAMES, SIZES, converted, small_voice

PRECISE = Conversion(precision="float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("voice")


@pytest.fixture(scope="module")
def voice(folder: Path) -> SplitVoice:
    return small_voice(folder)[1]


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    return converted(small_voice(folder)[0], folder / "converted", PRECISE)


def some(n_frames: int) -> VocoderFeatures:
    return np.random.default_rng(n_frames).normal(0, 1, (n_frames, SIZES.n_features)).astype(np.float32)


@pytest.mark.parametrize("n_frames", [0, 1, 2, FRAMES - 1, FRAMES, FRAMES + 1, 3 * FRAMES + 5])
def test_pieces_of_one_length_are_the_whole(package: Path, voice: SplitVoice, n_frames: int) -> None:
    model = ReferenceModel(package)
    vocoder = CoreMLVocoder(model, model.description, voice.vocoder)
    assert vocoder.description == "coreml (float32, ALL)"
    given = some(n_frames)
    samples = vocoder.decode(given)
    assert samples.shape == (n_frames * 256,)
    np.testing.assert_allclose(samples, OnnxVocoder(voice.vocoder, voice.reference).decode(given), rtol=0, atol=1e-5)


@dataclass
class Answering:
    """A model that gives one answer."""

    answer: dict[str, NDArray[Any]]

    def predict(self, inputs: dict[str, NDArray[Any]], state: object = None) -> dict[str, NDArray[Any]]:
        del inputs, state
        return self.answer

    def make_state(self) -> Any:
        raise AssertionError


def vocoder_with(model: CoreMLModel, package: Path, voice: SplitVoice) -> CoreMLVocoder:
    return CoreMLVocoder(model, describe(package), voice.vocoder)


def test_answers_that_are_none_are_told_apart(package: Path, voice: SplitVoice) -> None:
    shape = (1, 1, 1, FRAMES * 256)
    with pytest.raises(ShapeConversionError, match="samples") as refused:
        vocoder_with(Answering({"samples": np.zeros((1, 5))}), package, voice).decode(some(2))
    assert (refused.value.expected, refused.value.got) == (shape, (1, 5))
    with pytest.raises(ShapeConversionError):
        vocoder_with(Answering({"other": np.zeros(shape)}), package, voice).decode(some(2))
    with pytest.raises(CoreMLInferenceError, match="NaN or infinite"):
        vocoder_with(Answering({"samples": np.full(shape, np.nan)}), package, voice).decode(some(2))
    failing = FailingDevice(DEVICE.name, n_predictions=0).open(package, "ALL")
    with pytest.raises(CoreMLInferenceError, match="Core ML failed on 2 frames") as failed:
        vocoder_with(failing, package, voice).decode(some(2))
    assert isinstance(failed.value.__cause__, RuntimeError)


def test_packages_that_are_not_this_voices_vocoder_are_refused(package: Path, voice: SplitVoice) -> None:
    found = describe(package)
    features, inside = found.inputs
    others = {
        r"not a vocoder: got inputs features, expected": replace(found, inputs=(features,)),
        r"not a vocoder": replace(found, outputs=()),
        r"of \(1, 7, 1, 63\), expected \(1, 6, 1,": replace(found, inputs=(shaped(features, 1, 7, 1, 63), inside)),
        r"of \(1, 6, 1, 2\), expected": replace(found, inputs=(shaped(features, 1, 6, 1, 2), inside)),
        r"expected \(1, 6, 1, \d+ to 16384\)": replace(found, inputs=(shaped(features, 1, 6, 1, 1 << 30), inside)),
        r"of \(6, 63\), expected": replace(found, inputs=(shaped(features, 6, 63), inside)),
        r"another voice": replace(found, inputs=(features, shaped(inside, 1, 1, 1, 62))),
        r"of , expected": replace(found, inputs=(replace(features, shapes=()), inside)),
    }
    for complaint, other in others.items():
        with pytest.raises(VocoderNotLoadedError, match=complaint):
            frames_of(other, voice.vocoder)
    with pytest.raises(UnsupportedSampleRateError, match="got a vocoder of 16000 Hz, expected 22050, the voice's"):
        frames_of(found, replace(voice.vocoder, rate=22_050))


def shaped(feature: Feature, *shape: int) -> Feature:
    return replace(feature, shapes=(shape,))


# With everything: from the package on disk to the sound, with the reference runtime in Apple's place.


def chosen(place: Place, voice: Path, parts: SplitVoice, device: CoreMLRuntime, **settings: Any) -> FallbackVocoder:
    config = SpeechConfig(coreml_compute_units=UNITS, **settings)
    return choose_vocoder(config, voice, parts, place.reports.append, device)


@pytest.fixture
def mine(folder: Path, tmp_path: Path) -> Path:
    """The voice alone in a folder."""
    (tmp_path / "mine").mkdir()
    for name in ("small.onnx", "small.onnx.json"):
        (tmp_path / "mine" / name).write_bytes((folder / name).read_bytes())
    return tmp_path / "mine" / "small.onnx"


def assert_sounds_right(vocoder: FallbackVocoder, voice: SplitVoice) -> None:
    given = some(90)
    reference = OnnxVocoder(voice.vocoder, voice.reference).decode(given)
    assert parity(vocoder.decode(given), reference).psnr_db >= 35


def test_a_child_compiles_once_and_the_answer_is_compared(place: Place, mine: Path, voice: SplitVoice) -> None:
    found = converted(mine, Path("models"))
    vocoder = chosen(place, mine, voice, DEVICE)
    # It would have to wait for the compilation, unless it is told to.
    assert vocoder.status.did_fallback
    assert "the Core ML vocoder is not compiled for this device yet" in vocoder.status.reason
    assert_sounds_right(vocoder, voice)
    vocoder.warm_up()
    assert vocoder.status.backend == "coreml", vocoder.status.reason
    assert vocoder.status.package_digest == describe(found).digest
    assert (vocoder.status.ane_compiled, vocoder.status.compute_units) == (True, UNITS)
    assert vocoder.description == f"coreml (float16, {UNITS})"
    assert Stage.COMPILING_ANE in {each.stage for each in place.reports}
    assert {each.part for each in place.reports} == {"vocoder"}
    assert_sounds_right(vocoder, voice)
    place.reports.clear()
    # Compiled before: auto takes it, and nothing is tried again.
    assert chosen(place, mine, voice, DEVICE).status.backend == "coreml"
    assert Stage.COMPILING_ANE not in {each.stage for each in place.reports}


@pytest.mark.parametrize("where", ["beside", "models", "named"])
def test_a_package_is_found_beside_its_voice_by_its_name_and_by_its_path(
    place: Place, mine: Path, voice: SplitVoice, tmp_path: Path, where: str
) -> None:
    folder = {"beside": mine.parent, "models": Path("models"), "named": tmp_path / "elsewhere"}[where]
    found = converted(mine, folder, PRECISE)
    place.note(found.absolute())
    settings = {"coreml_vocoder_path": str(found)} if where == "named" else {}
    vocoder = chosen(place, mine, voice, Device(DEVICE.name), **settings)
    assert (vocoder.status.backend, vocoder.status.did_fallback) == ("coreml", False), vocoder.status.reason


def test_the_package_of_another_voice_is_passed_over(place: Place, mine: Path, voice: SplitVoice) -> None:
    specification = next(converted(mine, mine.parent, PRECISE).rglob("*.mlmodel"))
    origin = voice.vocoder.digest("float32").encode()
    specification.write_bytes(specification.read_bytes().replace(origin, b"0" * 64))
    vocoder = chosen(place, mine, voice, DEVICE)
    assert vocoder.status.reason.endswith("made from other weights than those of small")
    place.note(converted(mine, Path("models"), PRECISE).absolute())
    assert chosen(place, mine, voice, DEVICE).status.backend == "coreml"


def test_without_a_package_or_a_mac_another_one_runs(place: Place, mine: Path, voice: SplitVoice) -> None:
    vocoder = chosen(place, mine, voice, DEVICE, vocoder_backend="coreml")
    assert vocoder.status.reason == "Model not available"
    assert place.reports == [Progress(Stage.COREML_UNAVAILABLE, "Model not available", part="vocoder")]
    assert_sounds_right(vocoder, voice)


@pytest.mark.parametrize("device", [FailingDevice(DEVICE.name, n_predictions=3), OverflowingDevice(DEVICE.name)])
def test_core_ml_that_fails_in_mid_stream_is_replaced_and_nothing_is_lost(
    place: Place, mine: Path, voice: SplitVoice, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    place.note(converted(mine, Path("models"), PRECISE).absolute())
    vocoder = chosen(place, mine, voice, device)
    assert vocoder.is_coreml
    for _ in range(3):
        assert_sounds_right(vocoder, voice)
    assert (vocoder.is_coreml, vocoder.status.did_fallback) == (False, True)
    assert [(each.stage, each.part) for each in place.reports if each.stage is not Stage.LOADING] == [
        (Stage.COREML_UNAVAILABLE, "vocoder")
    ]
    assert [each.getMessage().startswith("Core ML does not run the vocoder,") for each in caplog.records] == [True]


def test_a_vocoder_that_answers_nonsense_is_not_taken(place: Place, mine: Path, voice: SplitVoice) -> None:
    converted(mine, Path("models"), PRECISE)
    vocoder = chosen(place, mine, voice, GarbageDevice(DEVICE.name), vocoder_backend="coreml")
    assert "Core ML's output differs from the reference" in vocoder.status.reason
    assert_sounds_right(vocoder, voice)
