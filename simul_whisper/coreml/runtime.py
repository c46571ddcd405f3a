"""What runs Core ML models: Apple's framework on a Mac. The only lines that other machines cannot run.

Everything before them is shared with the reference runtime, which stands in their place in tests and in `verify`.
"""

import importlib
import platform
import sys
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from simul_whisper.errors import EncoderNotLoadedError, NeuralEngineNotAvailableError

COMPILED_SUFFIX, PACKAGE_SUFFIX = ".mlmodelc", ".mlpackage"


class CoreMLModel(Protocol):
    """A loaded model, as coremltools has it."""

    def predict(self, inputs: dict[str, NDArray[Any]], /) -> dict[str, NDArray[Any]]:
        """Run the model on named inputs and return its named outputs."""
        ...


class CoreMLRuntime(Protocol):
    """What a device offers. name: "module:attribute", by which a child process finds the same runtime."""

    name: str

    def has_neural_engine(self) -> bool: ...

    def open(self, path: Path, compute_units: str) -> CoreMLModel:
        """Load a .mlpackage or .mlmodelc, compiled for the device if it was not yet. Any exception: it failed."""
        ...


class AppleRuntime:
    """Core ML through coremltools."""

    name = "simul_whisper.coreml.runtime:APPLE"

    def has_neural_engine(self) -> bool:
        return platform.machine() == "arm64"

    def open(self, path: Path, compute_units: str) -> CoreMLModel:
        try:
            import coremltools
        except ImportError as error:
            raise EncoderNotLoadedError("coremltools is not installed; pip install 'simul-whisper[coreml]'") from error
        units = coremltools.ComputeUnit[compute_units]
        if path.suffix == COMPILED_SUFFIX:
            model: CoreMLModel = coremltools.models.CompiledMLModel(str(path), units)
        else:
            model = coremltools.models.MLModel(str(path), compute_units=units)
        return model


APPLE = AppleRuntime()


def default_runtime() -> CoreMLRuntime | None:
    """Return Apple's runtime on a Mac, None elsewhere."""
    return APPLE if sys.platform == "darwin" else None


def require_units(runtime: CoreMLRuntime | None, compute_units: str) -> CoreMLRuntime:
    """Return the runtime. Raises NeuralEngineNotAvailableError when there is none, or not with these units."""
    if runtime is None or (wants_neural_engine(compute_units) and not runtime.has_neural_engine()):
        raise NeuralEngineNotAvailableError("ANE not supported")
    return runtime


def wants_neural_engine(compute_units: str) -> bool:
    return compute_units in ("ALL", "CPU_AND_NE")


def runtime_of(name: str) -> CoreMLRuntime:
    """Return the runtime of that name."""
    module, _, attribute = name.partition(":")
    runtime: CoreMLRuntime = getattr(importlib.import_module(module), attribute)
    return runtime
