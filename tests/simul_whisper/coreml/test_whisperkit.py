"""WhisperKit's TextDecoder as it is published, made here of real weights: what it says of speech, and what is heard."""

from pathlib import Path

import numpy as np
import pytest

from simul_whisper import AlignAttConfig, DecoderNotLoadedError, Model
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.reference import REFERENCE, ReferenceModel
from simul_whisper.coreml.runtime import PACKAGE_SUFFIX
from simul_whisper.coreml.verify import equal_words, streamed_text
from simul_whisper.decoders import Limits, TextDecoder
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.decoders.packages import DecoderKind, decoder_kind, open_decoder
from simul_whisper.decoders.whisperkit import WhisperKitDecoder
from simul_whisper.encoders import Features
from simul_whisper.mel import log_mel
from simul_whisper.weights import Weights
from tests.conftest import Recording
from tests.simul_whisper.coreml.devices import Device

pytest.importorskip("coremltools", exc_type=ImportError)

from tests.simul_whisper.coreml.whisperkit import as_compiled, save_text_decoder

LEAST_DB = 60


@pytest.fixture(scope="module")
def text_decoder(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_decoder(weights, tmp_path_factory.mktemp("whisperkit") / "TextDecoder.mlpackage")


@pytest.fixture(scope="module")
def decoder(text_decoder: Path, weights: Weights) -> WhisperKitDecoder:
    opened = open_decoder(REFERENCE, text_decoder, describe(text_decoder), weights.dims, weights.alignment_heads)
    assert isinstance(opened, WhisperKitDecoder)
    return opened


@pytest.fixture(scope="module")
def features(tiny: Model, captions: Recording) -> Features:
    return tiny.encoder.encode(log_mel(captions.samples, tiny.dims.n_mels))


def test_it_says_of_speech_what_mlx_says(
    tiny: Model, weights: Weights, decoder: WhisperKitDecoder, features: Features
) -> None:
    text = [*tiny.tokenizer.sot_sequence("en", "transcribe"), *tiny.tokenizer.encode(" Words appear on the screen")]
    reference = MlxDecoder(weights, "cpu", "float32")
    expected = reference.step(reference.begin(features), [text], range(len(text)))
    found = decoder.step(decoder.begin(features), [text], range(len(text)))
    assert parity(found.logits, expected.logits).psnr_db > LEAST_DB
    assert parity(found.attention, expected.attention.mean(axis=1, keepdims=True)).psnr_db > LEAST_DB


def test_it_tells_what_it_cannot_do(decoder: WhisperKitDecoder) -> None:
    assert decoder.limits == Limits(n_positions=224, whole_windows=True)
    assert decoder.description == "coreml (WhisperKit, float16, ALL)"


class CompiledDevice(Device):
    """Runs what was compiled by way of the package beside it."""

    def open(self, path: Path, compute_units: str, function: str = "") -> ReferenceModel:  # noqa: ARG002
        return ReferenceModel(path.with_suffix(PACKAGE_SUFFIX), function=function)


def test_its_compiled_form_is_known_by_what_apples_compiler_says_of_it(
    text_decoder: Path, weights: Weights, decoder: WhisperKitDecoder, features: Features
) -> None:
    compiled = describe(as_compiled(text_decoder))
    assert compiled.compiled
    assert decoder_kind(compiled, weights.dims, weights.alignment_heads) is DecoderKind.WHISPERKIT
    opened = open_decoder(
        CompiledDevice("compiled"), compiled.path, compiled, weights.dims, weights.alignment_heads, "CPU_AND_NE"
    )
    both: list[TextDecoder] = [opened, decoder]
    steps = [each.step(each.begin(features), [[0]]) for each in both]
    np.testing.assert_array_equal(steps[0].logits, steps[1].logits)
    assert opened.description == "coreml (WhisperKit, float16, CPU_AND_NE)"


def test_one_without_attention_is_refused(weights: Weights, tmp_path: Path) -> None:
    silent = save_text_decoder(weights, tmp_path / "TextDecoder.mlpackage", tells_attention=False)
    with pytest.raises(DecoderNotLoadedError, match="has no alignment_heads_weights output, without which AlignAtt"):
        open_decoder(REFERENCE, silent, describe(silent), weights.dims, weights.alignment_heads)


@pytest.mark.long
def test_a_recording_streamed_through_it_has_the_same_words(
    tiny: Model, weights: Weights, decoder: WhisperKitDecoder, captions: Recording
) -> None:
    config = AlignAttConfig(model_name="tiny.en", language="en")
    texts = [
        streamed_text(captions.samples, tiny.using(decoder=each), config)
        for each in (decoder, MlxDecoder(weights, "cpu", "float32"))
    ]
    assert equal_words(*texts) >= 0.98
    assert equal_words(texts[0], captions.transcript) >= 0.9
