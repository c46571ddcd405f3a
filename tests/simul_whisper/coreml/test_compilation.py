"""What the child process does with a model before anybody else uses it."""

import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper.coreml.compilation import note_model, noted_model
from simul_whisper.coreml.description import Description
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.coreml.runtime import CoreMLModel, CoreMLState
from tests.simul_whisper.coreml.devices import Device
from tests.simul_whisper.coreml.programs import ct, saved
from tests.simul_whisper.coreml.stateful import saved_functions


@dataclass
class Recording:
    """A model that notes what it is tried with."""

    model: CoreMLModel
    name: str
    tried: list[tuple[str, dict[str, tuple[int, ...]], CoreMLState | None]]

    def make_state(self) -> CoreMLState:
        return self.model.make_state()

    def predict(self, inputs: dict[str, NDArray[Any]], state: CoreMLState | None = None) -> dict[str, NDArray[Any]]:
        assert not any(np.any(array) for array in inputs.values())
        self.tried.append((self.name, {name: array.shape for name, array in inputs.items()}, state))
        return self.model.predict(inputs, state)


@dataclass
class RecordingDevice(Device):
    tried: list[tuple[str, dict[str, tuple[int, ...]], CoreMLState | None]] = field(default_factory=list)

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:  # noqa: ARG002
        return Recording(ReferenceModel(path, function=function), function, self.tried)


RECORDING = RecordingDevice(f"{__name__}:RECORDING")


def compiled(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> RecordingDevice:
    """Do in this process what the child does."""
    RECORDING.tried.clear()
    monkeypatch.setattr(sys, "argv", ["compilation", RECORDING.name, "CPU_AND_NE", "", *map(str, paths)])
    monkeypatch.delitem(sys.modules, "simul_whisper.coreml.compilation", raising=False)
    runpy.run_module("simul_whisper.coreml.compilation", run_name="__main__")
    return RECORDING


def test_each_function_is_tried_with_one_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved_functions(tmp_path)
    (one, _, first), (many, _, second) = compiled(monkeypatch, path).tried
    assert {one, many} == {"one", "many"}
    assert first is second is not None
    assert capsys.readouterr().out.strip() == str(path)


def test_all_packages_that_belong_together_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    paths = [saved(tmp_path / folder) for folder in "ab"]
    assert [(name, shapes, state) for name, shapes, state in compiled(monkeypatch, *paths).tried] == [
        ("", {"x": (1, 8, 20)}, None)
    ] * 2
    assert capsys.readouterr().out.strip() == str(paths[0])


def test_of_a_range_the_longest_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, shape=ct.Shape((1, 8, ct.RangeDim(2, 40, default=2))))
    assert compiled(monkeypatch, path).tried == [("", {"x": (1, 8, 40)}, None)]


def test_what_is_noted_is_there_with_all_that_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simul_whisper.coreml.locate.cache_home", lambda: tmp_path / "cache")
    packages = [Description(tmp_path / f"{name}.mlpackage", (), (), {}, 0) for name in ("d", "d-audio")]
    models = [tmp_path / "compiled" / f"{name}.mlmodelc" for name in ("d", "d-audio")]
    for path in (*(each.path for each in packages), *models):
        path.mkdir(parents=True)
    assert noted_model(packages, "ALL", RECORDING) is None
    note_model(packages, "ALL", RECORDING, models[0])
    assert noted_model(packages, "ALL", RECORDING) == models[0]
    models[1].rmdir()
    assert noted_model(packages, "ALL", RECORDING) is None
