"""What runs Core ML models: Apple's framework on a Mac. The only lines that other machines cannot run.

Everything before them is shared with the reference runtime, which stands in their place in tests and in `verify`.
"""

import importlib
import platform
import shutil
import sys
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from simul_whisper.errors import CoreMLNotLoadedError, NeuralEngineNotAvailableError
from simul_whisper.foreign_files import one_line

_MOST_SAID = 800
COMPILED_SUFFIX, PACKAGE_SUFFIX = ".mlmodelc", ".mlpackage"


class CoreMLState(Protocol):
    """The states of a model, as coremltools has them; arrays by name."""

    def read_state(self, name: str, /) -> NDArray[Any]: ...

    def write_state(self, name: str, value: NDArray[Any], /) -> None: ...


class CoreMLModel(Protocol):
    """A function of a loaded model, as coremltools has it."""

    def predict(self, inputs: dict[str, NDArray[Any]], /, state: CoreMLState | None = None) -> dict[str, NDArray[Any]]:
        """Run it on named inputs and return its named outputs; states are read and written in place."""
        ...

    def make_state(self) -> CoreMLState:
        """Return states of its own, all zeros, which every function of the same model takes."""
        ...


class CoreMLRuntime(Protocol):
    """What a device offers; whatever it raises means that it failed.

    name: "module:attribute", by which a child process finds the same runtime.
    """

    name: str

    def has_neural_engine(self) -> bool: ...

    def compiled(self, path: Path, directory: Path) -> Path:
        """Return what to open in place of a .mlpackage, made in `directory`; a .mlmodelc is its own."""
        ...

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
        """Load a model, or that function of it; the first time on a device that takes long."""
        ...


class AppleRuntime:
    """Core ML through coremltools."""

    name = "simul_whisper.coreml.runtime:APPLE"

    def has_neural_engine(self) -> bool:
        try:
            from coremltools.models.compute_device import MLComputeDevice, MLNeuralEngineComputeDevice

            devices = MLComputeDevice.get_all_compute_devices()
        # Before macOS 14 nothing tells; then every Mac with Apple's processors is taken to have one.
        except Exception:
            return platform.machine() == "arm64"
        return any(isinstance(device, MLNeuralEngineComputeDevice) for device in devices)

    def compiled(self, path: Path, directory: Path) -> Path:
        if path.suffix == COMPILED_SUFFIX:
            return path
        from coremltools.models.utils import compile_model

        target = directory / f"{path.stem}{COMPILED_SUFFIX}"
        shutil.rmtree(target, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        compile_model(str(path.resolve()), str(target))
        return target

    def open(self, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
        import coremltools

        units, name = coremltools.ComputeUnit[compute_units], function or None
        if path.suffix == COMPILED_SUFFIX:
            compiled: CoreMLModel = coremltools.models.CompiledMLModel(str(path), units, function_name=name)
            return compiled
        package = coremltools.models.MLModel(str(path), compute_units=units, function_name=name)
        # Where Core ML refuses the model, coremltools only warns, and fails when it is used.
        if failure := getattr(package, "_framework_error", None):
            raise CoreMLNotLoadedError(f"{path}: {failure}")
        model: CoreMLModel = package
        return model

    def compute_plan(self, compiled: Path, compute_units: str) -> Any:
        """Return coremltools' MLComputePlan of an .mlmodelc."""
        import coremltools
        from coremltools.models.compute_plan import MLComputePlan

        return MLComputePlan.load_from_path(str(compiled), coremltools.ComputeUnit[compute_units])


APPLE = AppleRuntime()


def default_runtime() -> CoreMLRuntime | None:
    """Return Apple's runtime on a Mac, None elsewhere."""
    return APPLE if sys.platform == "darwin" else None


def require_units(runtime: CoreMLRuntime | None, compute_units: str) -> CoreMLRuntime:
    """Return the runtime. Raises NeuralEngineNotAvailableError when there is none, or not with these units."""
    if runtime is None:
        raise NeuralEngineNotAvailableError("ANE not supported: Core ML needs macOS")
    if wants_neural_engine(compute_units) and not runtime.has_neural_engine():
        raise NeuralEngineNotAvailableError("ANE not supported")
    return runtime


def open_model(runtime: CoreMLRuntime, path: Path, compute_units: str, function: str = "") -> CoreMLModel:
    """Load a model. Raises CoreMLNotLoadedError, whatever the runtime raises."""
    try:
        return runtime.open(path, compute_units, function)
    except Exception as error:
        raise CoreMLNotLoadedError(f"{path.name}: {one_line(error, _MOST_SAID) or type(error).__name__}") from error


def wants_neural_engine(compute_units: str) -> bool:
    return compute_units in ("ALL", "CPU_AND_NE")


def runtime_of(name: str) -> CoreMLRuntime:
    """Return the runtime of that name."""
    module, _, attribute = name.partition(":")
    runtime: CoreMLRuntime = getattr(importlib.import_module(module), attribute)
    return runtime
