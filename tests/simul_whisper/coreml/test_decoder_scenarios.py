"""The Core ML decoder from the package on disk to the words, and what goes wrong on the way.

With another encoder, but where it is said: the reference runtime takes its time to encode.
"""

import importlib.util
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from simul_whisper import AlignAttConfig, BackendChange, PaddedAlignAttWhisper, Stage, load_model
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.decoder_package import convert_decoder
from simul_whisper.coreml.description import describe
from simul_whisper.weights import Weights
from tests.conftest import Recording
from tests.simul_whisper.coreml.conftest import SHORT_WINDOWS, Place, assert_heard, device, stream
from tests.simul_whisper.coreml.devices import (
    DEVICE,
    ENDED,
    KILLED,
    SLOW,
    Device,
    FailingDevice,
    GarbageDevice,
    HangingDevice,
    OverflowingDevice,
)

# The fastest one that is installed; tests of Core ML do not need the other extra.
ENCODER = "ctranslate2" if importlib.util.find_spec("ctranslate2") else "mlx"
# Without Core ML, MLX decodes.
DECODER: dict[str, object] = {"backend": "mlx", "encoder_backend": ENCODER, "decoder_backend": "coreml"}
WITHOUT_CHILD = {**DECODER, "coreml_compute_units": "CPU_ONLY"}
OURS = ["states", "inputs"]


@pytest.fixture(scope="session")
def decoders(weights: Weights, decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The step of a decoder of each kind, with what belongs to it beside it, and WhisperKit's."""
    # It needs coremltools as soon as it is imported.
    from tests.simul_whisper.coreml.whisperkit import save_text_decoder

    inputs = convert_decoder(weights, tmp_path_factory.mktemp("inputs"), Conversion(target="macOS13")).path
    whisperkit = save_text_decoder(weights, tmp_path_factory.mktemp("whisperkit") / "TextDecoder.mlpackage")
    return {"states": decoder, "inputs": inputs, "whisperkit": whisperkit}


@pytest.fixture(scope="session")
def mlx_texts(captions: Recording) -> list[str]:
    """What is committed, call by call, when MLX decodes."""
    values = {"model_name": "tiny.en", "backend": "mlx", "encoder_backend": ENCODER, **SHORT_WINDOWS}
    config = AlignAttConfig.from_mapping(values)
    return [update.text for update in stream(load_model(config), captions)]


def add(place: Place, decoder: Path, *, compiled: bool = True) -> Path:
    """Put a decoder, all packages of it, where it is looked for."""
    found = [place.add(each, compiled=False) for each in sorted(decoder.parent.glob("*.mlpackage"))]
    [step] = [each for each in found if each.name == decoder.name]
    if compiled:
        place.note(step, *(each for each in found if each != step))
    return step


def test_everything_runs_in_core_ml_where_that_is_asked_for(
    place: Place, package: Path, decoders: Mapping[str, Path], captions: Recording
) -> None:
    place.add(package)
    found = add(place, decoders["states"])
    settings = AlignAttConfig.preset("full_coreml")
    model = place.load(device(), backend=settings.backend, decoder_backend=settings.decoder_backend)
    info = model.info
    assert (info.decoder_backend, info.decoder_requested_backend) == ("coreml", "coreml")
    assert (info.decoder_did_fallback, info.decoder_fallback_reason) == (False, "")
    assert (info.decoder_ane_compiled, info.decoder_compute_units) == (True, "CPU_AND_NE")
    assert info.decoder_package_digest == describe(found).digest
    assert info.decoder.startswith("coreml (float16")
    assert info.pipeline == "Core ML (encoder, decoder)"
    assert place.failures() == []
    updates = stream(model, Recording(captions.samples[:48_000], ""))
    assert "".join(update.text for update in updates).strip()
    assert not any(update.decoder_change for update in updates)


def test_the_words_are_those_of_mlx(
    place: Place, decoders: Mapping[str, Path], captions: Recording, mlx_texts: list[str]
) -> None:
    add(place, decoders["inputs"])
    model = place.load(device(), **DECODER)
    assert re.fullmatch("hybrid: encoder in (CTranslate2|MLX), decoder in Core ML", model.info.pipeline)
    assert [update.text for update in stream(model, captions)] == mlx_texts


def test_nobody_looks_for_a_decoder_unasked(place: Place, decoders: Mapping[str, Path], hub: list[str]) -> None:
    add(place, decoders["states"])
    mac = device()
    for settings in ({"backend": "auto"}, {"backend": "coreml", "decoder_backend": "mlx"}):
        info = place.load(mac, coreml_encoder_path="none.mlpackage", **settings).info
        assert info.decoder_backend != "coreml"
        assert not info.decoder_did_fallback
    assert (mac.opened, hub) == ([], [])


def test_the_first_time_a_child_tries_every_function_and_the_answer_is_compared(
    place: Place, decoders: Mapping[str, Path]
) -> None:
    for kind in OURS:
        add(place, decoders[kind], compiled=False)
        place.reports.clear()
        assert place.load(DEVICE, **DECODER).info.decoder_backend == "coreml"
        assert ("decoder", Stage.COMPILING_ANE) in {(report.part, report.stage) for report in place.reports}
        place.reports.clear()
        assert place.load(DEVICE, **DECODER).info.decoder_backend == "coreml"
        assert Stage.COMPILING_ANE not in {report.stage for report in place.reports}
        shutil.rmtree(place.models)


@pytest.mark.parametrize(
    ("part", "deadly", "said"),
    [
        ("encoder", KILLED, "tried it was killed by signal 9 (Killed"),
        ("decoder", ENDED, "tried it ended with exit status 3"),
    ],
)
def test_what_kills_the_process_that_uses_it_is_refused(
    place: Place, package: Path, decoders: Mapping[str, Path], part: str, deadly: Device, said: str
) -> None:
    """As some models do that were compiled for the Neural Engine and loaded."""
    place.add(package, compiled=False)
    add(place, decoders["states"], compiled=False)
    settings = {"encoder_backend": "mlx", "decoder_backend": "mlx", f"{part}_backend": "coreml"}
    info = place.load(deadly, **settings).info
    reason = info.fallback_reason if part == "encoder" else info.decoder_fallback_reason
    assert said in reason
    assert "Core ML" not in info.pipeline
    assert place.failures() == [(Stage.COMPILATION_FAILED, reason)]


@pytest.mark.parametrize(
    "path", ["somewhere.mlpackage", "models/ggml-tiny.en-decoder.mlpackage", "weights/TextDecoder.mlpackage"]
)
def test_a_decoder_is_found(
    place: Place, decoders: Mapping[str, Path], weights: Weights, tmp_path: Path, path: str
) -> None:
    directory = Path(shutil.copytree(weights.directory, tmp_path / "weights"))
    shutil.copytree(decoders["whisperkit" if "TextDecoder" in path else "states"], tmp_path / path)
    settings: dict[str, object] = {"model_path": str(directory), **WITHOUT_CHILD}
    if path == "somewhere.mlpackage":
        settings["coreml_decoder_path"] = path
    info = place.load(device(), **settings).info
    assert info.decoder_backend == "coreml", info.decoder_fallback_reason


def test_a_decoder_that_is_nowhere_is_told_from_the_start(place: Place, hub: list[str]) -> None:
    info = place.load(device(), **DECODER).info
    assert info.decoder_did_fallback
    assert info.decoder_fallback_reason == "Model not available: the hub has no Core ML decoder of tiny.en"
    assert hub == ["decoder of tiny.en"]
    info = place.load(device(), coreml_decoder_path="no.mlpackage", **DECODER).info
    assert "no.mlpackage: no such Core ML model" in info.decoder_fallback_reason
    info = place.load(None, **DECODER).info  # type: ignore[arg-type]
    assert info.decoder_fallback_reason == "ANE not supported: Core ML needs macOS"
    assert len(hub) == 1


def of_other_weights(step: Path) -> None:
    origin = describe(step).metadata["decoder_sha256"].encode()
    for package in step.parent.glob(f"{step.stem}*.mlpackage"):
        specification = next(package.rglob("*.mlmodel"))
        specification.write_bytes(specification.read_bytes().replace(origin, b"0" * 64))


def without_prefill(step: Path) -> None:
    shutil.rmtree(step.with_name(f"{step.stem}-prefill.mlpackage"))


def truncated(step: Path) -> None:
    weights = next(step.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:100_000])


@pytest.mark.parametrize(
    ("kind", "damage", "said"),
    [
        ("states", of_other_weights, "made from other weights than those of tiny.en"),
        ("inputs", of_other_weights, "made from other weights than those of tiny.en"),
        ("inputs", without_prefill, "decoder-prefill.mlpackage: no such Core ML model"),
        ("states", truncated, "decoder.mlpackage"),
    ],
)
def test_a_decoder_that_is_not_this_models_is_refused(
    place: Place, decoders: Mapping[str, Path], kind: str, damage: Callable[[Path], None], said: str
) -> None:
    damage(add(place, decoders[kind], compiled=False))
    info = place.load(device(), **DECODER).info
    assert info.decoder_did_fallback
    assert said in info.decoder_fallback_reason
    assert place.failures() == [(Stage.COREML_UNAVAILABLE, info.decoder_fallback_reason)]


def test_a_package_of_another_model_or_part_is_refused(
    place: Place, package: Path, decoders: Mapping[str, Path]
) -> None:
    for found, said in ((decoders["states"], "made for another model"), (package, "not a decoder")):
        info = place.load(device(), model_name="base", coreml_decoder_path=str(found), **DECODER).info
        assert said in info.decoder_fallback_reason


@pytest.mark.parametrize("kind", OURS)
def test_garbage_is_refused(place: Place, decoders: Mapping[str, Path], kind: str) -> None:
    add(place, decoders[kind], compiled=False)
    info = place.load(GarbageDevice(DEVICE.name), **WITHOUT_CHILD).info
    assert "differs from the reference" in info.decoder_fallback_reason


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (FailingDevice(DEVICE.name, fails_in="audio", n_predictions=3), "Error computing NN outputs"),
        (FailingDevice(DEVICE.name, fails_in="prefill", n_predictions=3), "Error computing NN outputs"),
        (FailingDevice(DEVICE.name, fails_in="step", n_predictions=9), "Error computing NN outputs"),
        (OverflowingDevice(DEVICE.name), "NaN or infinite"),
    ],
    ids=["in begin", "in prefill", "in step", "overflowing"],
)
def test_a_failure_in_mid_stream_loses_nothing(
    place: Place,
    decoders: Mapping[str, Path],
    captions: Recording,
    mlx_texts: list[str],
    trouble: Device,
    said: str,
) -> None:
    add(place, decoders["states"])
    model = place.load(trouble, **DECODER)
    assert model.info.decoder_backend == "coreml"
    updates = stream(model, captions)
    [change] = [update.decoder_change for update in updates if update.decoder_change]
    assert (change.before, change.after) == ("coreml", "mlx")
    assert said in change.reason
    assert not any(update.encoder_change for update in updates)
    assert (model.info.decoder_did_fallback, model.info.did_fallback) == (True, False)
    assert model.info.decoder_backend == "mlx"
    assert [update.text for update in updates] == mlx_texts


def test_a_decoder_that_never_loads_is_given_up(place: Place, decoders: Mapping[str, Path]) -> None:
    add(place, decoders["states"])
    model = place.load(HangingDevice(DEVICE.name), compile_timeout=1.0, **DECODER)
    assert "within 1 s" in model.info.decoder_fallback_reason
    assert [stage for stage, _ in place.failures()] == [Stage.COMPILATION_FAILED]


def test_warm_up_of_both_can_be_cancelled(place: Place, package: Path, decoders: Mapping[str, Path]) -> None:
    place.add(package, compiled=False)
    add(place, decoders["states"], compiled=False)
    settings: dict[str, object] = {"backend": "coreml", "decoder_backend": "coreml", "wait_for_compilation": False}
    model = place.load(SLOW, **settings)
    assert "decoder is not compiled for this device yet" in model.info.decoder_fallback_reason
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    # It would take an hour.
    info = model.warmup(cancelled)
    assert info.fallback_reason == info.decoder_fallback_reason == "warm-up was cancelled"


@pytest.mark.parametrize("kind", ["states", "whisperkit"])
def test_in_the_background_it_takes_over_when_it_is_ready(
    place: Place, decoders: Mapping[str, Path], captions: Recording, kind: str
) -> None:
    path = str(decoders[kind])
    settings: dict[str, object] = {"load_in_background": True, "coreml_decoder_path": path, **WITHOUT_CHILD}
    model = place.load(device(), **settings)
    before = model.info
    assert (before.decoder_backend, before.decoder_did_fallback) == ("mlx", False)
    whisper = PaddedAlignAttWhisper(AlignAttConfig(padding_len=1.0), model)
    whisper.insert_audio(captions.samples)
    model.warmup()
    update = whisper.infer(is_last=True)
    assert update.decoder_change == BackendChange("mlx", "coreml", "")
    assert_heard([update], captions)
