"""Which vocoder runs, what takes its place when Core ML fails, and that both can be read back."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("onnxruntime", exc_type=ImportError)

from simul_whisper import (
    BackendError,
    ConfigError,
    CoreMLInferenceError,
    Progress,
    SpeechConfig,
    VocoderError,
)
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.preparation import Preparation, Ready
from simul_whisper.fallback import BackendStatus
from simul_whisper.progress import ProgressHandler, Stage
from simul_whisper.vocoders import AudioVocoder, VocoderFeatures, mlx
from simul_whisper.vocoders.choice import choose_vocoder
from simul_whisper.vocoders.fallback import (
    LEAST_DB,
    LEAST_DB_OF_UNKNOWN_ORIGIN,
    FallbackVocoder,
    Samples,
    VocoderKind,
    probe,
)
from simul_whisper.vocoders.mlx import MlxVocoder
from simul_whisper.vocoders.onnx import OnnxVocoder
from simul_whisper.vocoders.voice_file import SplitVoice, split_voice
from tests.voice_files import save_voice, voice_model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_voice(tmp_path_factory.mktemp("voice") / "small.onnx", voice_model())


@pytest.fixture(scope="module")
def voice(path: Path) -> SplitVoice:
    return split_voice(path)


@pytest.fixture
def features(voice: SplitVoice) -> VocoderFeatures:
    return probe(voice.vocoder.n_features)


@dataclass
class Failing:
    """A vocoder that works so often, and then fails as Core ML does; loudness 1 is right."""

    vocoder: AudioVocoder
    works: int = 0
    loudness: float = 1.0
    description: str = "coreml (float16, ALL)"

    @property
    def rate(self) -> int:
        return self.vocoder.rate

    def decode(self, features: VocoderFeatures) -> Samples:
        self.works -= 1
        if self.works < 0:
            raise CoreMLInferenceError("Core ML failed on features: the device is gone")
        return self.loudness * self.vocoder.decode(features)


@dataclass(frozen=True)
class Opened(Preparation[AudioVocoder, Samples]):
    """A preparation that finds this vocoder, compiled."""

    found: Any = None
    is_known: bool = False

    def check_possible(self) -> None:
        pass

    def run(
        self, first_answer: Callable[[AudioVocoder], Samples], progress: ProgressHandler, cancelled: Event
    ) -> Ready[AudioVocoder, Samples]:
        del progress, cancelled
        packages = (cast(Any, SimpleNamespace(digest="abc", metadata={})),)
        return Ready(self.found, packages, Path("x.mlmodelc"), first_answer(self.found), self.is_known)


def kind_of(voice: SplitVoice) -> VocoderKind:
    def nothing(*_: object) -> Any:
        raise AssertionError("no Core ML here")

    return VocoderKind(
        "vocoder",
        packages=nothing,
        open=nothing,
        digest=nothing,
        trial=lambda: lambda vocoder: vocoder.decode(probe(voice.vocoder.n_features)),
        agreement_db=lambda found, expected: parity(found, expected).psnr_db,
        least_db=LEAST_DB,
        least_unknown_db=LEAST_DB_OF_UNKNOWN_ORIGIN,
    )


@dataclass
class Told:
    progress: list[Progress] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        self.progress.append(progress)


def changing(voice: SplitVoice, found: AudioVocoder, told: ProgressHandler, *, is_known: bool) -> FallbackVocoder:
    """A vocoder in ONNX until Core ML, which is `found`, has got ready."""
    fields = dict.fromkeys(("path", "runtime"))
    preparation = Opened(
        kind_of(voice),
        model="small",
        names=(),
        directory=Path(),
        compute_units="ALL",
        timeout_s=60,
        download="never",
        hub_timeout_s=1,
        found=found,
        is_known=is_known,
        **cast(Any, fields),
    )
    vocoder = FallbackVocoder(
        voice.vocoder.rate,
        BackendStatus("onnx", "coreml"),
        lambda: OnnxVocoder(voice.vocoder, voice.reference),
        preparation,
        told,
    )
    vocoder.get_ready(waits=True, in_background=False)
    return vocoder


@pytest.mark.parametrize(("backend", "described"), [("mlx", "mlx ("), ("onnx", "onnx (float32, cpu)")])
def test_the_vocoder_that_was_asked_for_runs(path: Path, voice: SplitVoice, backend: str, described: str) -> None:
    vocoder = choose_vocoder(SpeechConfig(vocoder_backend=backend), path, voice)
    assert vocoder.description.startswith(described)
    assert vocoder.status == BackendStatus(backend, backend)


def test_auto_says_what_it_chose(path: Path, voice: SplitVoice) -> None:
    vocoder = choose_vocoder(SpeechConfig(), path, voice)
    assert vocoder.status.requested == "auto"
    assert vocoder.status.backend in ("mlx", "onnx")
    assert vocoder.description.startswith(vocoder.status.backend)
    assert not vocoder.status.did_fallback


def test_an_unknown_backend_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="expected one of auto, coreml, mlx, onnx"):
        SpeechConfig(vocoder_backend="torch")


def test_core_ml_where_there_is_none_is_said_and_another_runs(
    path: Path, voice: SplitVoice, features: VocoderFeatures
) -> None:
    told = Told()
    vocoder = choose_vocoder(SpeechConfig(vocoder_backend="coreml"), path, voice, told)
    assert vocoder.status.did_fallback
    assert vocoder.status.reason == "ANE not supported: Core ML needs macOS"
    assert [(each.stage, each.part) for each in told.progress] == [(Stage.COREML_UNAVAILABLE, "vocoder")]
    assert len(vocoder.decode(features)) == len(features) * voice.vocoder.hop


def test_onnx_runtime_that_is_missing_is_named(path: Path, voice: SplitVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simul_whisper.vocoders.onnx", None)
    with pytest.raises(BackendError, match=r"pip install 'simul-whisper\[voice\]', or use vocoder_backend = mlx"):
        choose_vocoder(SpeechConfig(vocoder_backend="onnx"), path, voice)


def test_core_ml_takes_over_and_what_it_fails_on_is_decoded_all_the_same(
    voice: SplitVoice, features: VocoderFeatures
) -> None:
    told, whole = Told(), OnnxVocoder(voice.vocoder, voice.reference)
    vocoder = changing(voice, Failing(whole, works=2), told, is_known=True)
    assert vocoder.is_coreml
    assert vocoder.description == "coreml (float16, ALL)"
    assert vocoder.status == BackendStatus(
        "coreml", "coreml", ane_compiled=True, compute_units="ALL", package_digest="abc"
    )
    for _ in range(3):
        np.testing.assert_array_equal(vocoder.decode(features), whole.decode(features))
    assert vocoder.status == BackendStatus(
        "onnx", "coreml", did_fallback=True, reason="Core ML failed on features: the device is gone"
    )
    assert [each.stage for each in told.progress] == [Stage.COREML_UNAVAILABLE]


@pytest.mark.parametrize("loudness", [0.5, 0.0, -1.0, float("nan")])
def test_core_ml_whose_first_answer_is_wrong_does_not_take_over(voice: SplitVoice, loudness: float) -> None:
    found = Failing(OnnxVocoder(voice.vocoder, voice.reference), works=9, loudness=loudness)
    vocoder = changing(voice, found, Told(), is_known=False)
    assert vocoder.status.backend == "onnx"
    assert "differs from the reference" in vocoder.status.reason


def test_an_error_that_is_not_core_mls_is_the_callers(voice: SplitVoice, features: VocoderFeatures) -> None:
    vocoder = FallbackVocoder(
        voice.vocoder.rate,
        BackendStatus("onnx"),
        lambda: Failing(OnnxVocoder(voice.vocoder, voice.reference)),
    )
    with pytest.raises(VocoderError, match="the device is gone"):
        vocoder.decode(features)


def test_the_operators_of_gpus_say_what_those_of_cpus_say(
    voice: SplitVoice, features: VocoderFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_cpus = MlxVocoder(voice.vocoder, "cpu").decode(features)
    monkeypatch.setattr("simul_whisper.vocoders.mlx._Products", mlx._Convolutions)
    np.testing.assert_allclose(MlxVocoder(voice.vocoder, "cpu").decode(features), of_cpus, rtol=0, atol=1e-5)


@dataclass
class Busy:
    """A vocoder that, while it decodes, lets another thread come, and notes whether it got in."""

    vocoder: FallbackVocoder | None = None
    description: str = "busy"
    rate: int = 16_000
    n_inside: int = 0
    most_inside: int = 0
    others: list[Thread] = field(default_factory=list)

    def decode(self, features: VocoderFeatures) -> Samples:
        self.n_inside += 1
        self.most_inside = max(self.most_inside, self.n_inside)
        if not self.others:
            assert self.vocoder is not None
            self.others.append(Thread(target=self.vocoder.decode, args=(features,)))
            self.others[0].start()
            self.others[0].join(0.05)
        self.n_inside -= 1
        return features[:, 0]


def test_one_thread_at_a_time_decodes(features: VocoderFeatures) -> None:
    busy = Busy()
    busy.vocoder = FallbackVocoder(16_000, BackendStatus("own"), lambda: busy)
    busy.vocoder.decode(features)
    busy.others[0].join()
    assert busy.most_inside == 1
