"""Core ML from the package on disk to the words, with the reference runtime in Apple's place; and its troubles."""

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from simul_whisper import (
    AlignAttConfig,
    CoreMLInferenceError,
    EncoderChange,
    Model,
    PaddedAlignAttWhisper,
    Progress,
    ShapeConversionError,
    Stage,
    Update,
    load_model,
)
from simul_whisper.coreml.compilation import note_compiled
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.locate import fetched_package
from simul_whisper.coreml.package import convert
from simul_whisper.coreml.runtime import APPLE, CoreMLRuntime
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.mel import Mel
from simul_whisper.weights import Weights, load_weights
from streaming.scoring import word_edits
from tests.conftest import Recording
from tests.coreml.devices import DEVICE, SLOW, Device, FailingDevice, GarbageDevice
from tests.weights.fakehub import fake_hub

ROOT = Path(__file__).parent.parent.parent
UNITS = "CPU_AND_NE"
SHORT_WINDOWS: dict[str, object] = {"audio_max_len": 8.0, "padding_len": 1.0}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights("tiny.en")


@pytest.fixture(scope="module")
def package(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(weights, tmp_path_factory.mktemp("converted")).path


@dataclass
class Place:
    """A working directory with models, a cache of its own, and what was reported."""

    models: Path
    reports: list[Progress] = field(default_factory=list)

    def add(self, package: Path, *, compiled: bool = True) -> Path:
        """Put a package where it is looked for, and note that the device has compiled it."""
        found = Path(shutil.copytree(package, self.models / package.name))
        if compiled:
            note_compiled(describe(found), UNITS)
        return found

    def load(self, device: CoreMLRuntime, **settings: object) -> Model:
        values = {"model_name": "tiny.en", "coreml_compute_units": UNITS, **SHORT_WINDOWS, **settings}
        return load_model(AlignAttConfig.from_mapping(values), self.reports.append, device)

    def failures(self) -> list[tuple[Stage, str]]:
        """What was reported beside work that went on."""
        going_on = (Stage.PREPARING, Stage.LOADING, Stage.COMPILING_ANE, Stage.DOWNLOADING_COREML)
        return [(report.stage, report.detail) for report in self.reports if report.stage not in going_on]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    # The child process imports its device from here.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simul_whisper.coreml.locate.cache_home", lambda: tmp_path / "cache")
    return Place(Path("models"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hub has a repository of Core ML models, none of which is wanted; the names of the models asked for."""
    asked: list[str] = []
    monkeypatch.setattr("simul_whisper.coreml.locate._WHISPER_CPP", "argmaxinc/whisperkit-coreml")
    (tmp_path / "hub").mkdir()
    with fake_hub("argmaxinc/whisperkit-coreml", tmp_path / "hub") as server:
        fetch = partial(fetched_package, cache_dir=tmp_path / "hubcache", endpoint=server.endpoint)

        def asking(model: str, progress: Callable[[Progress], None]) -> Path | None:
            asked.append(model)
            return fetch(model, progress)

        monkeypatch.setattr("simul_whisper.encoders.preparation.fetched_package", asking)
        yield asked


def device() -> Device:
    return Device(DEVICE.name)


def stream(model: Model, recording: Recording, **settings: object) -> list[Update]:
    whisper = PaddedAlignAttWhisper(AlignAttConfig.from_mapping({**SHORT_WINDOWS, **settings}), model)
    updates = []
    for start in range(0, len(recording.samples), 48_000):
        whisper.insert_audio(recording.samples[start : start + 48_000])
        updates.append(whisper.infer(is_last=start + 48_000 >= len(recording.samples)))
    return updates


def assert_heard(updates: list[Update], recording: Recording) -> None:
    text = "".join(update.text for update in updates)
    assert word_edits(recording.transcript, text, "en").errors <= 2


def test_auto_takes_core_ml_where_there_is_a_model_and_a_neural_engine(
    place: Place, package: Path, captions: Recording
) -> None:
    found, mac = place.add(package), device()
    model = place.load(mac)
    info = model.info
    assert (info.encoder_backend, info.requested_backend, info.did_fallback) == ("coreml", "auto", False)
    assert (info.ane_compiled, info.compute_units, info.fallback_reason) == (True, UNITS, "")
    assert info.package_digest == describe(found).digest
    assert info.encoder.startswith("coreml (")
    assert mac.opened == [found]
    assert place.failures() == []
    updates = stream(model, captions)
    assert_heard(updates, captions)
    assert not any(update.encoder_change for update in updates)


def test_the_first_time_a_child_compiles_and_the_answer_is_compared(place: Place, package: Path) -> None:
    place.add(package, compiled=False)
    assert place.load(DEVICE, backend="coreml").info.encoder_backend == "coreml"
    assert Stage.COMPILING_ANE in {report.stage for report in place.reports}
    place.reports.clear()
    assert place.load(DEVICE).info.encoder_backend == "coreml"
    assert Stage.COMPILING_ANE not in {report.stage for report in place.reports}


def test_auto_does_not_wait_for_compilation_unless_told(place: Place, package: Path) -> None:
    place.add(package, compiled=False)
    model = place.load(DEVICE)
    assert model.info.encoder_backend != "coreml"
    assert model.info.did_fallback
    assert "not compiled" in model.info.fallback_reason
    assert model.warmup().encoder_backend == "coreml"
    assert not model.info.did_fallback


def test_auto_falls_back_where_there_is_no_model(place: Place, hub: list[str]) -> None:
    info = place.load(device()).info
    assert (info.encoder_backend == "coreml", info.requested_backend, info.did_fallback) == (False, "auto", True)
    assert info.fallback_reason == "Model not available"
    assert place.failures() == [(Stage.COREML_UNAVAILABLE, "Model not available")]
    assert hub == ["tiny.en"]


def test_mlx_asks_for_no_core_ml(place: Place, package: Path, hub: list[str]) -> None:
    place.add(package)
    mac = device()
    for settings in ({"backend": "mlx"}, {"encoder_backend": "mlx"}, {"backend": "coreml", "encoder_backend": "mlx"}):
        info = place.load(mac, **settings).info
        assert (info.encoder_backend, info.requested_backend, info.did_fallback) == ("mlx", "mlx", False)
    assert (mac.opened, hub, place.failures()) == ([], [], [])


def test_a_device_without_a_neural_engine_goes_on_without(place: Place, package: Path, hub: list[str]) -> None:
    place.add(package)
    old = Device(DEVICE.name, neural_engine=False)
    for backend in ("auto", "coreml"):
        place.reports.clear()
        info = place.load(old, backend=backend).info
        assert info.encoder_backend != "coreml"
        assert info.did_fallback
        assert place.failures() == [(Stage.COREML_UNAVAILABLE, "ANE not supported")]
    assert (old.opened, hub) == ([], [])


def test_a_system_without_core_ml_says_so_when_asked_for_it(place: Place) -> None:
    model = place.load(None, backend="coreml")  # type: ignore[arg-type]
    assert model.info.fallback_reason == "ANE not supported"
    assert place.load(None).info.did_fallback is False  # type: ignore[arg-type]


def test_compilation_that_takes_too_long_is_given_up(place: Place, package: Path, captions: Recording) -> None:
    place.add(package, compiled=False)
    model = place.load(SLOW, backend="coreml", compile_timeout=1.0)
    [(stage, reason)] = place.failures()
    assert stage is Stage.COMPILATION_FAILED
    assert "within 1 s" in reason
    assert model.info.did_fallback
    assert model.info.fallback_reason == reason
    assert_heard(stream(model, captions), captions)


def test_a_download_that_fails_is_reported(
    place: Place, captions: Recording, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nobody = partial(fetched_package, cache_dir=tmp_path / "hubcache", endpoint="http://127.0.0.1:9")
    monkeypatch.setattr("simul_whisper.encoders.preparation.fetched_package", nobody)
    model = place.load(device())
    [(stage, reason)] = place.failures()
    assert stage is Stage.DOWNLOAD_FAILED
    assert model.info.did_fallback
    assert model.info.fallback_reason == reason
    assert_heard(stream(model, captions), captions)


def test_mel_that_is_too_long_is_refused(package: Path, weights: Weights) -> None:
    encoder = CoreMLEncoder(device().open(package, UNITS), describe(package), weights.dims)
    with pytest.raises(ShapeConversionError) as caught:
        encoder.encode(Mel(np.zeros((80, 5000), np.float32), 2500))
    assert (caught.value.expected, caught.value.got) == ((1, 80, 3000), (1, 80, 5000))
    assert "(1, 80, 3000)" in str(caught.value)
    assert "(1, 80, 5000)" in str(caught.value)


def test_warm_up_can_be_cancelled(place: Place, package: Path, captions: Recording) -> None:
    place.add(package, compiled=False)
    whisper = PaddedAlignAttWhisper(AlignAttConfig(padding_len=1.0), place.load(SLOW, wait_for_compilation=False))
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    # It would take an hour.
    assert whisper.warmup(cancelled).fallback_reason == "warm-up was cancelled"
    assert_heard(stream(whisper.model, captions), captions)


def test_core_ml_in_the_background_takes_over_when_it_is_ready(
    place: Place, package: Path, captions: Recording
) -> None:
    place.add(package, compiled=False)
    whisper = PaddedAlignAttWhisper(
        AlignAttConfig(padding_len=1.0), place.load(DEVICE, backend="coreml", load_in_background=True)
    )
    before = whisper.info
    assert before.encoder_backend != "coreml"
    assert not before.did_fallback
    whisper.insert_audio(captions.samples)
    whisper.warmup()
    update = whisper.infer(is_last=True)
    assert update.encoder_change == EncoderChange(before.encoder_backend, "coreml", "")
    assert_heard([update], captions)


def truncate(package: Path) -> None:
    weights = next(package.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:100_000])


def corrupt(package: Path) -> None:
    next(package.rglob("*.mlmodel")).write_bytes(b"\xff" * 1000)


def empty(package: Path) -> None:
    shutil.rmtree(package)
    package.mkdir()


@pytest.mark.parametrize("damage", [truncate, corrupt, empty])
def test_a_damaged_package_is_named(
    place: Place, package: Path, damage: Callable[[Path], None], captions: Recording
) -> None:
    damage(place.add(package))
    model = place.load(device(), backend="coreml")
    assert model.info.did_fallback
    assert package.name in model.info.fallback_reason
    assert [reason for _, reason in place.failures()] == [model.info.fallback_reason]
    assert_heard(stream(model, captions), captions)


def test_a_package_of_another_model_is_refused(place: Place, package: Path, captions: Recording) -> None:
    found = place.add(package)
    model = place.load(device(), backend="coreml", model_name="base", coreml_encoder_path=str(found))
    assert model.info.did_fallback
    assert "other weights" in model.info.fallback_reason
    assert_heard(stream(model, captions, language="en"), captions)


def test_garbage_is_refused(place: Place, package: Path, captions: Recording) -> None:
    place.add(package, compiled=False)
    model = place.load(GarbageDevice(DEVICE.name), backend="coreml")
    assert model.info.did_fallback
    assert "differs from the reference" in model.info.fallback_reason
    assert_heard(stream(model, captions), captions)


def test_a_failure_in_mid_stream_loses_nothing(place: Place, package: Path, captions: Recording) -> None:
    place.add(package)
    model = place.load(FailingDevice(DEVICE.name))
    assert model.info.encoder_backend == "coreml"
    updates = stream(model, captions)
    changes = [update.encoder_change for update in updates if update.encoder_change]
    [change] = changes
    assert (change.before, change.after) == ("coreml", model.info.encoder_backend)
    assert "Error computing NN outputs" in change.reason
    assert model.info.did_fallback
    assert_heard(updates, captions)


def test_a_failure_names_its_cause(package: Path, weights: Weights) -> None:
    failing = FailingDevice(DEVICE.name).open(package, UNITS)
    encoder = CoreMLEncoder(failing, describe(package), weights.dims)
    mel = Mel(np.zeros((80, 100), np.float32), 50)
    for _ in range(4):
        encoder.encode(mel)
    with pytest.raises(CoreMLInferenceError) as caught:
        encoder.encode(mel)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_two_models_one_with_core_ml_and_one_without(place: Place, package: Path, captions: Recording) -> None:
    place.add(package)
    tiny, base = place.load(device()), place.load(device(), model_name="base", backend="mlx")
    assert (tiny.info.encoder_backend, base.info.encoder_backend) == ("coreml", "mlx")
    first = PaddedAlignAttWhisper(AlignAttConfig(padding_len=1.0), tiny)
    second = PaddedAlignAttWhisper(AlignAttConfig(padding_len=1.0, language="en"), base)
    found: list[list[Update]] = [[], []]
    for start in range(0, len(captions.samples), 64_000):
        for whisper, updates in zip((first, second), found, strict=True):
            whisper.insert_audio(captions.samples[start : start + 64_000])
            updates.append(whisper.infer(is_last=start + 64_000 >= len(captions.samples)))
    for updates in found:
        assert_heard(updates, captions)


@pytest.mark.skipif(sys.platform != "darwin", reason="needs a Mac")
def test_a_mac_hears_what_is_said(place: Place, package: Path, captions: Recording) -> None:
    place.add(package, compiled=False)
    model = place.load(APPLE, backend="coreml", coreml_compute_units="ALL")
    assert model.info.encoder_backend == "coreml", model.info.fallback_reason
    assert_heard(stream(model, captions), captions)
