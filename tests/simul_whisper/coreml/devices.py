"""Devices with Core ML, as far as a machine without it can have them: the reference runtime, and its troubles."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.coreml.runtime import CoreMLModel, CoreMLState
from tests.simul_whisper.coreml.published import SOURCE


@dataclass
class AsInPython:
    """A model that takes and gives what coremltools 9 does, by its sources (model.py, CoreMLPythonUtils.mm).

    It replaces float16 in the caller's dict by float32, takes arrays of these types that can be written, with strides
    that are no smaller than zero, and gives float32 for float16.
    """

    model: CoreMLModel

    def make_state(self) -> CoreMLState:
        return StateInPython(self.model.make_state())

    def predict(self, inputs: dict[str, NDArray[Any]], state: CoreMLState | None = None) -> dict[str, NDArray[Any]]:
        for name, array in inputs.items():
            inputs[name] = array.astype(np.float32) if array.dtype == np.float16 else array
            _convert(inputs[name])
        answer = self.model.predict(inputs, state.state if isinstance(state, StateInPython) else None)
        return {name: _seen(found) for name, found in answer.items()}


@dataclass
class StateInPython:
    """States likewise; here float16 is not replaced."""

    state: CoreMLState

    def read_state(self, name: str) -> NDArray[Any]:
        return _seen(self.state.read_state(name))

    def write_state(self, name: str, value: NDArray[Any]) -> None:
        _convert(value)
        self.state.write_state(name, value)


def _convert(array: NDArray[Any]) -> None:
    is_known = array.dtype in (np.int32, np.float32, np.float64)
    if not (is_known and array.flags.writeable and min(array.strides, default=0) >= 0 and array.ndim):
        raise RuntimeError("value type not convertible")


def _seen(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array


@dataclass
class Device:
    """Runs packages with NumPy. name: by which a child process finds it. opened: the packages that were loaded here."""

    name: str
    neural_engine: bool = True
    opened: list[Path] = field(default_factory=list)

    def has_neural_engine(self) -> bool:
        return self.neural_engine

    def compiled(self, path: Path, directory: Path) -> Path:  # noqa: ARG002
        return path

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:  # noqa: ARG002
        self.opened.append(path)
        return AsInPython(ReferenceModel(path / SOURCE if path.suffix == ".mlmodelc" else path, function=function))


class SlowDevice(Device):
    """Compiles for an hour."""

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
        time.sleep(3600)
        return super().open(path, compute_units, function)


@dataclass
class Garbage:
    """A model that answers in the right shape and nothing else."""

    model: CoreMLModel

    def make_state(self) -> CoreMLState:
        return self.model.make_state()

    def predict(self, inputs: dict[str, NDArray[Any]], state: CoreMLState | None = None) -> dict[str, NDArray[Any]]:
        answer = self.model.predict(inputs, state)
        return {name: np.random.default_rng(0).standard_normal(found.shape) for name, found in answer.items()}


class GarbageDevice(Device):
    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
        return Garbage(super().open(path, compute_units, function))


@dataclass
class Failing:
    """A model that fails after so many predictions."""

    model: CoreMLModel
    n_left: int

    def make_state(self) -> CoreMLState:
        return self.model.make_state()

    def predict(self, inputs: dict[str, NDArray[Any]], state: CoreMLState | None = None) -> dict[str, NDArray[Any]]:
        self.n_left -= 1
        if self.n_left < 0:
            raise RuntimeError("Error computing NN outputs")
        return self.model.predict(inputs, state)


@dataclass
class FailingDevice(Device):
    """Fails in mid-stream, in one function of a model or, where none is named, in all."""

    fails_in: str = ""
    n_predictions: int = 4

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
        opened = super().open(path, compute_units, function)
        return Failing(opened, self.n_predictions) if self.fails_in in ("", function) else opened


class HangingDevice(Device):
    """Has compiled the model, and cannot load it."""

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
        threading.Event().wait()
        return super().open(path, compute_units, function)


@dataclass
class Overflowing:
    """A model whose numbers overflow after so many predictions."""

    model: CoreMLModel
    n_left: int

    def make_state(self) -> CoreMLState:
        return self.model.make_state()

    def predict(self, inputs: dict[str, NDArray[Any]], state: CoreMLState | None = None) -> dict[str, NDArray[Any]]:
        self.n_left -= 1
        answer = self.model.predict(inputs, state)
        return answer if self.n_left >= 0 else {name: np.full(found.shape, np.inf) for name, found in answer.items()}


class OverflowingDevice(Device):
    """Overflows in mid-stream."""

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
        return Overflowing(super().open(path, compute_units, function), 3)


@dataclass
class Deadly:
    """A model whose first prediction ends the process that makes it, by a signal or an exit status."""

    model: CoreMLModel
    signal: int
    status: int

    def make_state(self) -> CoreMLState:
        return self.model.make_state()

    def predict(self, inputs: dict[str, NDArray[Any]], state: CoreMLState | None = None) -> dict[str, NDArray[Any]]:
        assert "pytest" not in sys.modules, "only a child process may try this model"
        self.model.predict(inputs, state)
        if self.signal:
            os.kill(os.getpid(), self.signal)
        os._exit(self.status)


@dataclass
class DeadlyDevice(Device):
    """Compiles and loads a model that cannot be used."""

    signal: int = 0
    status: int = 0

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
        return Deadly(super().open(path, compute_units, function), self.signal, self.status)


# Under these names child processes find them.
DEVICE = Device(f"{__name__}:DEVICE")
SLOW = SlowDevice(f"{__name__}:SLOW")
KILLED = DeadlyDevice(f"{__name__}:KILLED", signal=signal.SIGKILL)
ENDED = DeadlyDevice(f"{__name__}:ENDED", status=3)
