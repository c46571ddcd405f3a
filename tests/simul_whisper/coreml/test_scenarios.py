"""Core ML from the package on disk to the words, with the reference runtime in Apple's place."""

import shutil
import sys
import threading
from pathlib import Path

import pytest

from simul_whisper import (
    AlignAttConfig,
    EncoderChange,
    PaddedAlignAttWhisper,
    Stage,
    Update,
)
from simul_whisper.coreml.compilation import note_model
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.runtime import APPLE
from simul_whisper.weights import Weights
from tests.conftest import Recording
from tests.simul_whisper.coreml.conftest import UNITS, Place, assert_heard, device, stream
from tests.simul_whisper.coreml.devices import (
    DEVICE,
    SLOW,
    Device,
)


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
    assert info.pipeline == "hybrid: encoder in Core ML, decoder in MLX"
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
    assert hub == []
    reason = place.load(device(), wait_for_compilation=True).info.fallback_reason
    assert reason == "Model not available: the hub has no Core ML encoder of tiny.en"
    assert hub == ["encoder of tiny.en"]


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
    assert model.info.fallback_reason == "ANE not supported: Core ML needs macOS"
    assert place.load(None).info.did_fallback is False  # type: ignore[arg-type]


@pytest.mark.parametrize("in_background", [False, True])
def test_what_can_never_run_is_told_from_the_start_with_one_warning(
    place: Place, hub: list[str], caplog: pytest.LogCaptureFixture, *, in_background: bool
) -> None:
    old = Device(DEVICE.name, neural_engine=False)
    reasons = {"ANE not supported: Core ML needs macOS": None, "ANE not supported": old}
    for reason, runtime in reasons.items():
        caplog.clear()
        settings = {"backend": "coreml", "load_in_background": in_background}
        model = place.load(runtime, **settings)  # type: ignore[arg-type]
        assert (model.info.did_fallback, model.info.fallback_reason) == (True, reason)
        assert model.warmup().fallback_reason == reason
        assert [(each.levelname, each.name) for each in caplog.records] == [("WARNING", "simul_whisper.fallback")]
        assert caplog.messages[0].endswith(f"does: {reason}")
    assert [stage for stage, _ in place.failures()] == [Stage.COREML_UNAVAILABLE] * 2
    assert hub == []


def test_a_package_that_is_missing_is_told_from_the_start(place: Place, hub: list[str]) -> None:
    info = place.load(device(), load_in_background=True, coreml_encoder_path="no.mlpackage").info
    assert info.did_fallback
    assert "no.mlpackage: no such Core ML model" in info.fallback_reason
    assert hub == []


@pytest.mark.parametrize("folder", ["weights", "models"])
def test_a_package_is_found_by_the_models_name_and_beside_its_weights(
    place: Place, package: Path, weights: Weights, tmp_path: Path, folder: str
) -> None:
    directory = Path(shutil.copytree(weights.directory, tmp_path / "weights"))
    # One of another model, which says so, is passed over.
    another = Path(shutil.copytree(package, directory / "AnotherEncoder.mlpackage"))
    specification = next(another.rglob("*.mlmodel"))
    origin = describe(package).metadata["encoder_sha256"].encode()
    specification.write_bytes(specification.read_bytes().replace(origin, b"0" * 64))
    found = Path(shutil.copytree(package, tmp_path / folder / package.name)).absolute()
    note_model([describe(found)], UNITS, DEVICE, found)
    info = place.load(device(), model_path=str(directory)).info
    assert (info.encoder_backend, info.package_digest) == ("coreml", describe(found).digest), info.fallback_reason


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
