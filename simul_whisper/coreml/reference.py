"""A runtime for saved Core ML programs that needs no Mac: NumPy, read back from disk.

It stands where coremltools' `MLModel.predict` does. float16 values are held as float32, and rounded to float16 after
each operator, so a float16 package shows its error. A device may also round inside an operator: see `operators`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.blob import numpy_type
from simul_whisper.coreml.description import Description, Feature, describe
from simul_whisper.coreml.operators import OPERATORS
from simul_whisper.coreml.rounding import round_to_float16
from simul_whisper.coreml.runtime import CoreMLState
from simul_whisper.errors import BackendError
from simul_whisper.foreign_files import one_line
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent

if TYPE_CHECKING:
    from simul_whisper.coreml.spec import Operation, Value

Array = NDArray[Any]
_LISTS = frozenset(["values"])
_COMPRESSED = "constexpr_"


class PredictionError(BackendError, RuntimeError):
    """Inputs that the model does not take; a RuntimeError, as coremltools raises."""


class ReferenceModel:
    """One package, loaded. Raises ModelNotFoundError, WeightsError, or BackendError for an operator unknown here.

    float16: None follows the program's types; False computes all in float32; True rounds all to float16.
    keep_expanded: False expands compressed weights anew in every prediction, which takes a fraction of the memory.
    """

    def __init__(
        self,
        path: Path,
        *,
        float16: bool | None = None,
        keep_expanded: bool = True,
        progress: ProgressHandler = silent,
    ) -> None:
        self.description: Description = describe(path)
        if self.description.compiled:
            raise BackendError(f"{path}: a compiled model runs on a Mac only; give the .mlpackage it was made from")
        # After `describe`, which says so when coremltools is missing.
        from simul_whisper.coreml.spec import read_program

        self._program = read_program(path)
        self._float16, self._keeps_expanded, self._progress = float16, keep_expanded, progress
        self._known: dict[str, Value] = {name: self._stored(each) for name, each in self._program.constants.items()}
        unknown = sorted({each.type for each in self._program.operations} - set(OPERATORS))
        if unknown:
            found = one_line(", ".join(unknown))
            raise BackendError(f"{path}: got operators {found}, expected some of {', '.join(OPERATORS)}")
        self._steps = self._folded()
        self._last_uses = self._lifetimes()

    def make_state(self) -> CoreMLState:
        """Return its states, all zeros. Raises PredictionError."""
        raise PredictionError(f"{self.description.path}: has no states")

    def predict(self, inputs: Mapping[str, Array], state: CoreMLState | None = None) -> dict[str, Array]:  # noqa: ARG002
        """Take and return arrays by name, with the model's own names, shapes and types. Raises PredictionError."""
        values: dict[str, Value] = self._checked(inputs)
        for place, (step, unused) in enumerate(zip(self._steps, self._last_uses, strict=True)):
            self._progress(Progress(Stage.CHECKING, "in NumPy", place, len(self._steps)))
            values.update(self._run(step, values))
            for name in unused:
                del values[name]
        found = {name: values[name] if name in values else self._known[name] for name in self._program.outputs}
        return {name: self._as_declared(name, value) for name, value in found.items()}

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Value]:
        features = {feature.name: feature for feature in self.description.inputs}
        if inputs.keys() != features.keys():
            raise PredictionError(f"got inputs {', '.join(inputs)}, expected {', '.join(features)}")
        return {name: self._typed(name, _checked(features[name], array)) for name, array in inputs.items()}

    def _stored(self, value: Value) -> Value:
        """Return a constant in the type that it has in this run."""
        halved = self._float16 and isinstance(value, np.ndarray) and value.dtype == np.float32
        return np.asarray(value, np.float16) if halved else value

    def _folded(self) -> list[Operation]:
        """Run what depends on no input, such as the expansion of compressed weights, and return all else."""
        steps = []
        for operation in self._program.operations:
            is_kept = self._keeps_expanded or not operation.type.startswith(_COMPRESSED)
            if is_kept and all(name in self._known for names in operation.inputs.values() for name in names):
                self._known.update(self._run(operation, {}))
            else:
                steps.append(operation)
        return steps

    def _lifetimes(self) -> list[list[str]]:
        """For each step, the values that nothing after it needs."""
        seen = {*self._known, *self._program.outputs}
        lifetimes = []
        for step in reversed(self._steps):
            touched = {*step.outputs, *(name for names in step.inputs.values() for name in names)}
            lifetimes.append(sorted(touched - seen))
            seen |= touched
        return lifetimes[::-1]

    def _run(self, operation: Operation, values: Mapping[str, Value]) -> dict[str, Value]:
        operator = OPERATORS[operation.type]
        operands: dict[str, Any] = {}
        for parameter, names in operation.inputs.items():
            found = [_widened(values[name] if name in values else self._known[name]) for name in names]
            operands[parameter] = found if parameter in _LISTS else found[0]
        try:
            result = operator.run(**operands)
        except (TypeError, ValueError, LookupError, ArithmeticError, AssertionError, MemoryError) as error:
            raise BackendError(
                f"{operation.type} {one_line(', '.join(operation.outputs))} cannot be computed: {one_line(error)}"
            ) from error
        results = result if isinstance(result, list) else [result]
        named = zip(operation.outputs, results, strict=True)
        return {name: self._typed(name, each, moved=not operator.arithmetic) for name, each in named}

    def _typed(self, name: str, value: Value, *, moved: bool = False) -> Value:
        """Return the value as the type that it has in this run. moved: its numbers are rounded already."""
        dtype = self._program.types[name].dtype
        if isinstance(value, str) or dtype not in ("float16", "float32"):
            return value if isinstance(value, str) else np.asarray(value).astype(numpy_type(dtype), copy=False)
        array = np.ascontiguousarray(value, np.float32).reshape(np.shape(value))
        if not moved and (dtype == "float16" if self._float16 is None else self._float16):
            round_to_float16(array)
        return array

    def _as_declared(self, name: str, value: Value) -> Array:
        return np.array(value, numpy_type(self._program.types[name].dtype), order="C")


def _widened(value: Value) -> Value:
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float16 else value


def _checked(feature: Feature, array: Array) -> Array:
    if not feature.accepts(array.shape):
        raise PredictionError(f"got {feature.name} of shape {array.shape}, expected {feature.accepted}")
    return np.array(array, np.float32)


class ReferenceRuntime:
    """The reference runtime in the place of Apple's: any machine, and no Neural Engine."""

    name = "simul_whisper.coreml.reference:REFERENCE"

    def has_neural_engine(self) -> bool:
        return False

    def compiled(self, path: Path, directory: Path) -> Path:  # noqa: ARG002
        """Nothing is compiled here."""
        return path

    def open(self, path: Path, compute_units: str, function: str = "") -> ReferenceModel:  # noqa: ARG002
        """Load an .mlpackage; compute units mean nothing here."""
        return ReferenceModel(path)


REFERENCE = ReferenceRuntime()
