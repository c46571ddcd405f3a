"""A place with Core ML models, and a hub without: what the tests of choosing and of troubles share."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from simul_whisper import (
    AlignAttConfig,
    Model,
    PaddedAlignAttWhisper,
    Progress,
    Stage,
    Update,
    load_model,
)
from simul_whisper.coreml.compilation import note_model
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.decoder_package import convert_decoder
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.locate import PartName, fetched_package
from simul_whisper.coreml.package import convert
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.weights import Weights, load_weights
from streaming.evaluation.scoring import word_edits
from tests.conftest import Recording
from tests.made_once import made_once
from tests.simul_whisper.coreml.devices import (
    DEVICE,
    Device,
)
from tests.simul_whisper.weights.fakehub import fake_hub

ROOT = Path(__file__).parents[3]
UNITS = "CPU_AND_NE"
SHORT_WINDOWS: dict[str, object] = {"audio_max_len": 8.0, "padding_len": 1.0}


@pytest.fixture(scope="session")
def weights() -> Weights:
    return load_weights("tiny.en")


@pytest.fixture(scope="session")
def package(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "converted", lambda folder: convert(weights, folder).path)


@pytest.fixture(scope="session")
def decoder(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that keeps states."""
    conversion = Conversion(target="macOS15")
    return made_once(tmp_path_factory, "states", lambda folder: convert_decoder(weights, folder, conversion).path)


@dataclass
class Place:
    """A working directory with models, a cache of its own, and what was reported."""

    models: Path
    reports: list[Progress] = field(default_factory=list)

    def add(self, package: Path, *, compiled: bool = True) -> Path:
        """Put a package where it is looked for, and note that the device has compiled it."""
        found = Path(shutil.copytree(package, self.models / package.name))
        if compiled:
            self.note(found.absolute())
        return found.absolute()

    def note(self, *packages: Path) -> None:
        """Note that the device has compiled these, which belong together."""
        note_model([describe(package) for package in packages], UNITS, DEVICE, packages[0])

    def load(self, device: CoreMLRuntime, **settings: object) -> Model:
        # Elsewhere than on a Mac another decoder is faster, and nobody reads what Core ML encodes with that.
        values = {"decoder_backend": "mlx", "model_name": "tiny.en", "coreml_compute_units": UNITS, **SHORT_WINDOWS}
        values |= settings
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
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hubcache"))
    return Place(Path("models"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hub has a repository of Core ML models, none of which is wanted; the names of the models asked for."""
    asked: list[str] = []
    monkeypatch.setattr("simul_whisper.coreml.locate._WHISPER_CPP", "argmaxinc/whisperkit-coreml")
    (tmp_path / "hub").mkdir()
    with fake_hub("argmaxinc/whisperkit-coreml", tmp_path / "hub") as server:
        fetch = partial(fetched_package, cache_dir=tmp_path / "hubcache", endpoint=server.endpoint)

        def asking(model: str, progress: Callable[[Progress], None], part: PartName, timeout_s: float) -> Path | None:
            asked.append(f"{part} of {model}")
            return fetch(model, progress, part=part, timeout_s=timeout_s)

        monkeypatch.setattr("simul_whisper.coreml.preparation.fetched_package", asking)
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
