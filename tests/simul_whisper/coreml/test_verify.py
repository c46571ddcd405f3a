"""Packages compared with MLX: real weights, real speech, real packages; and how that is told."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, AlignAttConfig, AudioFormatError, EncoderError, Model, Progress, Stage
from simul_whisper.coreml.contents import NumberType
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.package import convert
from simul_whisper.coreml.parity import Parity, parity
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.coreml.verify import Measured, Verification, equal_words, streamed_text, verify
from simul_whisper.encoders import Features
from simul_whisper.encoders.mlx import MlxEncoder
from simul_whisper.mel import Mel, log_mel
from simul_whisper.weights import Weights
from streaming.cli import coreml_check, main
from tests.conftest import RECORDINGS, Recording

pytest.importorskip("coremltools", exc_type=ImportError)
from tests.simul_whisper.coreml.stateful import saved_functions

CONVERSIONS: Mapping[str, Conversion] = {
    "float32": Conversion(precision="float32"),
    "float16": Conversion(),
    "int8": Conversion(quantize="int8"),
}
NEAR, FAR = Parity(78.0, 0.24), Parity(59.9, 1.0)
FOUND = Verification(
    "encoder",
    "the reference runtime (NumPy)",
    NumberType.FLOAT16,
    (Measured("features", NumberType.FLOAT16, NEAR),),
    "one two three",
    "one two tree",
    2 / 3,
)
PRECISE = Measured("logits", NumberType.FLOAT32, Parity(101.0, 1e-4))
DECODER = replace(FOUND, part="decoder", measured=(Measured("logits", NumberType.FLOAT16, NEAR), PRECISE))


@pytest.fixture(scope="module")
def packages(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: convert(weights, tmp_path_factory.mktemp(name), conversion).path
        for name, conversion in CONVERSIONS.items()
    }


@pytest.fixture(scope="module")
def mel(captions: Recording) -> Mel:
    return log_mel(captions.samples, 80)


@pytest.fixture(scope="module")
def reference(weights: Weights, mel: Mel) -> Features:
    return MlxEncoder(weights, "cpu").encode(mel)


@pytest.mark.parametrize(
    ("name", "least_db", "most_db"), [("float32", 100, 200), ("float16", 60, 90), ("int8", 45, 70)]
)
def test_packages_are_near_the_mlx_encoder(
    packages: dict[str, Path], mel: Mel, reference: Features, name: str, least_db: float, most_db: float
) -> None:
    answer = ReferenceModel(packages[name]).predict({"logmel_data": mel.columns[None]})["output"]
    assert least_db < parity(answer[0], reference).psnr_db < most_db


def test_a_shorter_window_is_near_it_too(packages: dict[str, Path], weights: Weights, mel: Mel) -> None:
    window = Mel(mel.columns[:, :1000], 500)
    answer = ReferenceModel(packages["float32"]).predict({"logmel_data": window.columns[None]})["output"]
    assert parity(answer[0], MlxEncoder(weights, "cpu").encode(window)).psnr_db > 100


def test_verify_on_speech(packages: dict[str, Path], captions: Recording) -> None:
    # One window of 10 s, which the package takes as it is.
    config = AlignAttConfig(model_name="tiny.en", segment_length=6.0, padding_len=4.0)
    told: list[Progress] = []
    found = verify(packages["float16"], captions.samples[: 6 * SAMPLE_RATE], config, progress=told.append)
    assert [each.detail for each in told if each.stage is Stage.CHECKING] == ["the features", "the streamed text"]
    assert found.number_type is NumberType.FLOAT16
    assert found.part == "encoder"
    assert [each.bound_db for each in found.measured] == [60]
    assert found.passed
    assert len(found.reference_text.split()) > 8
    assert found.equal_words == equal_words(found.text, found.reference_text) >= 0.98


def test_verify_of_a_decoder_on_speech(decoder: Path, captions: Recording) -> None:
    config = AlignAttConfig(model_name="tiny.en", segment_length=6.0, padding_len=4.0)
    told: list[Progress] = []
    found = verify(decoder, captions.samples[: 6 * SAMPLE_RATE], config, progress=told.append)
    stages = [each.detail for each in told if each.stage is Stage.CHECKING]
    assert stages == ["logits and attention", "the same, computed in float32", "the streamed text"]
    assert found.part == "decoder"
    assert [(each.what, each.bound_db) for each in found.measured] == [
        ("logits", 60),
        ("attention", 60),
        ("logits", 100),
        ("attention", 100),
    ]
    assert found.passed
    # What was rounded is not what was not.
    assert all(each.parity.psnr_db < 100 for each in found.measured[:2])
    assert len(found.reference_text.split()) > 8
    assert found.equal_words == equal_words(found.text, found.reference_text) >= 0.98


def test_verify_refuses_what_cannot_be_compared(packages: dict[str, Path], captions: Recording) -> None:
    with pytest.raises(AudioFormatError, match="there is no audio"):
        verify(packages["float16"], captions.samples[:0], AlignAttConfig(model_name="tiny.en"))
    with pytest.raises(EncoderError, match=r"float16.*\.mlpackage: belongs to another model.*384.*512"):
        verify(packages["float16"], captions.samples, AlignAttConfig(model_name="base"))


def test_a_model_with_another_encoder_uses_it(tiny: Model, captions: Recording) -> None:
    class Silence:
        description = "nothing"

        def encode(self, mel: Mel) -> Features:
            return np.zeros((mel.n_frames, 384), np.float32)

    config = AlignAttConfig(model_name="tiny.en", padding_len=1.0, segment_length=5.0)
    samples = captions.samples[: 5 * SAMPLE_RATE]
    assert "Words appear" in streamed_text(samples, tiny, config)
    assert "Words appear" not in streamed_text(samples, tiny.using(encoder=Silence()), config)


def test_parity() -> None:
    reference = np.array([[3.0, -4.0]], np.float32)
    assert parity(reference, reference) == Parity(math.inf, 0.0)
    found = parity(reference + np.float32(0.5), reference)
    assert found.psnr_db == pytest.approx(20 * math.log10(4 / 0.5))
    assert found.largest_difference == 0.5
    assert parity(reference * np.float32(np.nan), reference).psnr_db == -math.inf
    assert parity(reference, 0 * reference).psnr_db == -math.inf


@pytest.mark.parametrize(
    ("text", "reference", "share"),
    [("", "", 1), ("a b c", "a b c", 1), ("a c", "a b c", 2 / 3), ("a b c d", "a b", 0.5), ("", "a", 0), ("b", "a", 0)],
)
def test_equal_words(text: str, reference: str, share: float) -> None:
    assert equal_words(text, reference) == share


def with_parity(found: Verification, worst: Parity) -> Verification:
    return replace(found, measured=(replace(found.measured[0], parity=worst), *found.measured[1:]))


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        (FOUND, 0, "passed: expected at least 60 dB of float16"),
        (with_parity(FOUND, FAR), 1, "FAILED: expected at least 60 dB of float16"),
        (with_parity(FOUND, Parity(-math.inf, math.inf)), 1, "FAILED"),
        (replace(FOUND, measured=(Measured("features", NumberType.COMPRESSED, FAR),)), 0, "measured only"),
        (DECODER, 0, "passed: expected at least 60 dB of float16 and 100 dB of float32"),
        (DECODER, 0, "logits    PSNR 101.0 dB, largest difference 0.0001, computed in float32"),
        (with_parity(DECODER, FAR), 1, "FAILED: expected at least 60 dB of float16 and 100 dB of float32"),
    ],
)
def test_verify_says_what_was_found(
    found: Verification,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(coreml_check, "verify", lambda *_, **__: found)
    assert main(["coreml", "verify", "some.mlpackage", "--model", "tiny.en"]) == status
    out, err = capsys.readouterr()
    assert said in out
    assert f"{found.measured[0].parity.psnr_db:.1f} dB" in out
    assert "66.7 % of the words equal" in out
    assert "captions.flac" in out
    assert not err


def test_info_says_what_is_inside(packages: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coreml", "info", str(packages["int8"])]) == 0
    out, _ = capsys.readouterr()
    for said in ("logmel_data: float32 (1, 80, 3000)", "output: float32", "model: tiny.en", "conv 26", "compressed"):
        assert said in out


def test_info_shows_functions_states_and_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coreml", "info", str(saved_functions(tmp_path))]) == 0
    out, _ = capsys.readouterr()
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("function ")] == ["function  one, the default", "function  many"]
    assert lines.count("state     cache: float16 (2, 32, 1, 64)") == 2
    assert "input     tokens: int32 (1, 4)" in lines
    assert "flag      not run by the Neural Engine: gather (x2)" in lines
    assert "older than the last write" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["info", "missing.mlpackage"], "missing.mlpackage: no such Core ML model"),
        (["verify", "missing.mlpackage", "--model", "tiny.en"], "missing.mlpackage: no such Core ML model"),
        (["verify", "x.mlpackage", "--audio", "missing.wav"], "missing.wav: no such recording; give --audio FILE"),
        (["info", str(RECORDINGS)], "expected a folder named *.mlpackage or *.mlmodelc"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["coreml", *arguments]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert not out
