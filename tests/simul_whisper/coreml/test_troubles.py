"""What goes wrong around Core ML is reported, and the words come all the same."""

import gc
import shutil
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simul_whisper import (
    AlignAttConfig,
    CoreMLInferenceError,
    Progress,
    ShapeConversionError,
    Stage,
    load_model,
)
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.locate import fetched_package
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.mel import Mel
from simul_whisper.weights import Weights
from simul_whisper.weights.directory import load_directory
from tests.conftest import Recording
from tests.simul_whisper.coreml.conftest import UNITS, Place, assert_heard, device, stream
from tests.simul_whisper.coreml.devices import (
    DEVICE,
    SLOW,
    Device,
    FailingDevice,
    GarbageDevice,
    HangingDevice,
    OverflowingDevice,
)


def test_compilation_that_takes_too_long_is_given_up(place: Place, package: Path, captions: Recording) -> None:
    place.add(package, compiled=False)
    model = place.load(SLOW, backend="coreml", compile_timeout=1.0)
    [(stage, reason)] = place.failures()
    assert stage is Stage.COMPILATION_FAILED
    assert "within 1 s" in reason
    assert model.info.did_fallback
    assert model.info.fallback_reason == reason
    assert_heard(stream(model, captions), captions)


def test_a_model_that_never_loads_is_given_up(place: Place, package: Path) -> None:
    place.add(package)
    model = place.load(HangingDevice(DEVICE.name), backend="coreml", compile_timeout=1.0)
    assert "within 1 s" in model.info.fallback_reason
    assert [stage for stage, _ in place.failures()] == [Stage.COMPILATION_FAILED]


def test_a_download_may_take_longer_than_compilation(
    place: Place, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_s = 0.0

    def slow_download(_model: str, progress: Callable[[Progress], None], **_: object) -> Path:
        nonlocal passed_s
        progress(Progress(Stage.DOWNLOADING_COREML))
        passed_s = 3600.0
        time.sleep(1.0)
        return package

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s)
    monkeypatch.setattr("simul_whisper.fallback.time", clock)
    monkeypatch.setattr("simul_whisper.coreml.preparation.fetched_package", slow_download)
    assert place.load(device(), backend="coreml").info.encoder_backend == "coreml"
    assert not place.failures()


def test_a_handler_that_raises_ends_the_preparation_and_not_the_program(place: Place, package: Path) -> None:
    place.add(package)

    def handler(progress: Progress) -> None:
        if progress.detail == package.name:
            raise KeyError("a bug")

    config = AlignAttConfig.from_mapping({"model_name": "tiny.en", "coreml_compute_units": UNITS})
    assert "a bug" in load_model(config, handler, device()).info.fallback_reason


def test_a_cache_that_cannot_be_written_only_costs_time(
    place: Place, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add(package, compiled=False)
    Path("file").write_text("")
    monkeypatch.setattr("simul_whisper.coreml.locate.cache_home", lambda: Path("file"))
    assert place.load(DEVICE, backend="coreml").info.encoder_backend == "coreml"


def test_nothing_needs_compiling_without_the_neural_engine(place: Place, package: Path) -> None:
    place.add(package, compiled=False)
    info = place.load(Device(DEVICE.name, neural_engine=False), coreml_compute_units="CPU_ONLY").info
    assert (info.encoder_backend, info.ane_compiled, info.did_fallback) == ("coreml", False, False)
    assert Stage.COMPILING_ANE not in {report.stage for report in place.reports}


def test_a_program_may_change_its_directory(
    place: Place, package: Path, captions: Recording, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add(package)
    shutil.copytree(weights.directory, "tiny.en")
    model = place.load(FailingDevice(DEVICE.name), model_path="tiny.en")
    monkeypatch.chdir("/")
    assert_heard(stream(model, captions), captions)
    assert model.info.did_fallback


def test_a_compiled_model_that_is_useless_does_not_hide_the_package(place: Place, package: Path) -> None:
    found = place.add(package)
    (found.parent / f"{found.stem}.mlmodelc").mkdir()
    (found.parent / f"{found.stem}.mlmodelc" / "metadata.json").write_text("{}")
    assert place.load(device()).info.encoder_backend == "coreml"


def test_a_download_that_fails_is_reported(
    place: Place, captions: Recording, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nobody = partial(fetched_package, cache_dir=tmp_path / "hubcache", endpoint="http://127.0.0.1:9")
    monkeypatch.setattr("simul_whisper.coreml.preparation.fetched_package", nobody)
    model = place.load(device(), backend="coreml")
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


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("path", ["none.mlpackage", "empty.mlpackage"])
def test_a_refusal_holds_no_weights(place: Place, monkeypatch: pytest.MonkeyPatch, part: str, path: str) -> None:
    """Neither those who keep the reports nor a cycle of references, which is collected much later."""
    held: list[weakref.ref[Weights]] = []

    def loaded(*called: Any) -> Weights:
        weights = load_directory(*called)
        held.append(weakref.ref(weights))
        return weights

    monkeypatch.setattr("simul_whisper.model.load_directory", loaded)
    Path("empty.mlpackage").mkdir()
    gc.disable()
    try:
        settings = {"backend": "mlx", f"{part}_backend": "coreml", f"coreml_{part}_path": path}
        info = place.load(device(), **settings).info
        [weights] = held
        assert weights() is None
    finally:
        gc.enable()
    assert path in (info.fallback_reason or info.decoder_fallback_reason)


def test_garbage_is_refused(place: Place, package: Path) -> None:
    place.add(package, compiled=False)
    info = place.load(GarbageDevice(DEVICE.name), backend="coreml", coreml_compute_units="CPU_ONLY").info
    assert info.did_fallback
    assert "differs from the reference" in info.fallback_reason


@pytest.mark.parametrize(
    ("trouble", "said"), [(FailingDevice, "Error computing NN outputs"), (OverflowingDevice, "NaN or infinite")]
)
def test_a_failure_in_mid_stream_loses_nothing(
    place: Place, package: Path, captions: Recording, trouble: type[Device], said: str
) -> None:
    place.add(package)
    model = place.load(trouble(DEVICE.name))
    assert model.info.encoder_backend == "coreml"
    updates = stream(model, captions)
    changes = [update.encoder_change for update in updates if update.encoder_change]
    [change] = changes
    assert (change.before, change.after) == ("coreml", model.info.encoder_backend)
    assert said in change.reason
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
