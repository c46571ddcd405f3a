"""Core ML models that must be downloaded, from a hub that has them, has none, or never answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simul_whisper import PRESETS, DownloadTimeoutError, Stage
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.fetch import Fetched, fetch_encoder
from simul_whisper.coreml.locate import downloaded_package
from tests.conftest import Recording
from tests.simul_whisper.coreml.conftest import Place, assert_heard, stream
from tests.simul_whisper.coreml.devices import DEVICE
from tests.simul_whisper.coreml.published import compiled
from tests.simul_whisper.weights.fakehub import FakeHub, be_the_hub, fake_hub

REPOSITORY = "argmaxinc/whisperkit-coreml"
WAITING = {"backend": "coreml"}


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub whose repository of Core ML models has none of ours; it counts all requests."""
    monkeypatch.setattr("simul_whisper.coreml.locate._WHISPER_CPP", REPOSITORY)
    with fake_hub(REPOSITORY, tmp_path / "hub") as server:
        be_the_hub(server, tmp_path / "hubcache", monkeypatch)
        yield server


@pytest.fixture
def stocked_hub(empty_hub: FakeHub, package: Path, tmp_path: Path) -> FakeHub:
    """A hub that has the encoder, compiled as WhisperKit publishes it."""
    folder = compiled(package, tmp_path / "AudioEncoder.mlmodelc")
    for file in filter(Path.is_file, folder.rglob("*")):
        name = f"openai_whisper-tiny.en/AudioEncoder.mlmodelc/{file.relative_to(folder).as_posix()}"
        empty_hub.files[name] = file.read_bytes()
    return empty_hub


def test_auto_downloads_compiles_and_uses_the_encoder_and_later_takes_it_without_asking(
    place: Place, stocked_hub: FakeHub, captions: Recording
) -> None:
    model = place.load(DEVICE, coreml_download="always")
    info = model.info
    assert (info.encoder_backend, info.requested_backend) == ("coreml", "auto"), info.fallback_reason
    assert (info.ane_compiled, info.did_fallback) == (True, False)
    downloaded = downloaded_package("tiny.en")
    assert downloaded is not None
    assert info.package_digest == describe(downloaded).digest
    assert_heard(stream(model, captions), captions)
    stages = [report.stage for report in place.reports]
    assert stages.index(Stage.DOWNLOADING_COREML) < stages.index(Stage.COMPILING_ANE)
    done = [report.done for report in place.reports if report.stage is Stage.DOWNLOADING_COREML and report.total > 1]
    assert done, "progress is shown on the way"
    assert done == sorted(done)
    stocked_hub.requests.clear()
    assert place.load(DEVICE, coreml_download="never").info.encoder_backend == "coreml"
    assert fetch_encoder("tiny.en") == Fetched(downloaded, "all 24 of 24 matrices are those of tiny.en")
    assert stocked_hub.requests == []


def test_where_the_hub_has_none_another_encoder_runs_and_the_reason_says_so(
    place: Place, empty_hub: FakeHub, captions: Recording
) -> None:
    model = place.load(DEVICE, **WAITING)
    reason = "Model not available: the hub has no Core ML encoder of tiny.en"
    assert (model.info.did_fallback, model.info.fallback_reason) == (True, reason)
    assert place.failures() == [(Stage.COREML_UNAVAILABLE, reason)]
    assert empty_hub.requests
    assert empty_hub.downloads == []
    assert_heard(stream(model, captions), captions)


def test_a_hub_without_the_repository_is_a_failed_download(place: Place, empty_hub: FakeHub) -> None:
    empty_hub.model_id = "somebody/else"
    reason = place.load(DEVICE, **WAITING).info.fallback_reason
    assert reason.startswith(f"{REPOSITORY}: the hub has no such model")
    assert place.failures() == [(Stage.DOWNLOAD_FAILED, reason)]


def test_a_hub_that_never_answers_is_given_up_in_time(place: Place, stocked_hub: FakeHub, captions: Recording) -> None:
    stocked_hub.silent = True
    model = place.load(DEVICE, **WAITING, download_timeout=0.2)
    assert model.info.did_fallback
    [report] = [report for report in place.reports if report.stage is Stage.DOWNLOAD_FAILED]
    assert isinstance(report.error, DownloadTimeoutError)
    assert str(report.error) == report.detail == model.info.fallback_reason
    assert "did not answer in time (download_timeout is 0.2 s)" in report.detail
    assert_heard(stream(model, captions), captions)


@pytest.mark.parametrize(
    "settings",
    [
        {**PRESETS["mlx_only"], "coreml_download": "always"},
        {"encoder_backend": "mlx", "coreml_download": "always"},
        {"backend": "coreml", "encoder_backend": "mlx"},
        {"backend": "coreml", "coreml_encoder_path": "nothing.mlpackage"},
        {},
    ],
)
def test_nothing_is_asked_where_nothing_may_be_downloaded(
    place: Place, stocked_hub: FakeHub, settings: dict[str, object]
) -> None:
    model = place.load(DEVICE, **settings)
    if settings:
        model.warmup()
    assert model.info.encoder_backend != "coreml"
    assert stocked_hub.requests == []


def test_a_download_that_is_forbidden_is_told(place: Place, stocked_hub: FakeHub) -> None:
    reason = place.load(DEVICE, **WAITING, coreml_download="never").info.fallback_reason
    assert reason == "Model not available here, and coreml_download is never"
    assert stocked_hub.requests == []
