"""A runtime for saved Core ML programs that needs no Mac: NumPy, read back from disk.

It stands where coremltools' `MLModel.predict` does. float16 values are held as float32, and rounded to float16 after
each operator, so a float16 package shows its error. A device may also round inside an operator: see `operators`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.blob import numpy_type
from simul_whisper.coreml.description import Description, Feature, describe
from simul_whisper.coreml.operators import OPERATORS
from simul_whisper.coreml.rounding import round_to_float16
from simul_whisper.coreml.runtime import CoreMLState
from simul_whisper.coreml.states import READ, WRITE, PredictionError, ReferenceState, Updates, updates
from simul_whisper.errors import BackendError
from simul_whisper.foreign_files import one_line
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent

if TYPE_CHECKING:
    from simul_whisper.coreml.spec import Operation, Value

Array = NDArray[Any]
_LISTS = frozenset(["values"])
_COMPRESSED = "constexpr_"
_LARGEST = np.iinfo(np.int32).max
_STATE_OPERATORS = frozenset([READ, WRITE])
# Constants of weight files as float32: a package's functions have most of them in common.
_WIDENED: WeakValueDictionary[str, Array] = WeakValueDictionary()


@dataclass(frozen=True)
class _Step:
    """An operation, with its operands that are known beforehand, and the values that nothing after it needs."""

    operation: Operation
    known: Mapping[str, Any]
    unused: tuple[str, ...]


class ReferenceModel:
    """One function of a package, loaded; the default one without a name.

    Raises ModelNotFoundError, WeightsError, or BackendError for an operator unknown here.
    float16: None follows the program's types; False computes all in float32; True rounds all to float16.
    keep_expanded: False expands compressed weights anew in every prediction, which takes a fraction of the memory.
    """

    def __init__(
        self,
        path: Path,
        *,
        function: str = "",
        float16: bool | None = None,
        keep_expanded: bool = True,
        progress: ProgressHandler = silent,
    ) -> None:
        self.description: Description = describe(path)
        if self.description.compiled:
            raise BackendError(f"{path}: a compiled model runs on a Mac only; give the .mlpackage it was made from")
        # After `describe`, which says so when coremltools is missing.
        from simul_whisper.coreml.spec import read_program

        self._function = self.description.function(function)
        self._program = read_program(path, function)
        self._float16, self._keeps_expanded, self._progress = float16, keep_expanded, progress
        unknown = sorted({each.type for each in self._program.operations} - set(OPERATORS) - _STATE_OPERATORS)
        if unknown:
            found = one_line(", ".join(unknown))
            raise BackendError(f"{path}: got operators {found}, expected some of {', '.join(OPERATORS)}")
        self._known: dict[str, Value] = {name: self._widened(name, v) for name, v in self._program.constants.items()}
        operations = self._folded()
        self._updates: Updates = updates(operations, self._program.states, self._program.outputs)
        self._steps = self._prepared(operations)

    def make_state(self) -> ReferenceState:
        """Return its states, all zeros. Raises PredictionError, also when there are none."""
        if not self._function.states:
            raise PredictionError(f"{self.description.path}: function {self._function.name} has no states")
        halved = {self._is_half(each.dtype) for each in self._function.states}
        return ReferenceState(self._function.states, float16=halved == {True})

    def predict(self, inputs: Mapping[str, Array], state: CoreMLState | None = None) -> dict[str, Array]:
        """Take and return arrays by name, with the model's own names, shapes and types; a state is changed in place.

        Raises PredictionError for inputs or a state that it does not take.
        """
        arrays = self._states(state)
        values: dict[str, Value] = self._checked(inputs)
        for index, step in enumerate(self._steps):
            self._progress(Progress(Stage.CHECKING, "in NumPy", index, len(self._steps)))
            self._run(index, step, values, arrays)
            for name in step.unused:
                del values[name]
        found = {name: values[name] if name in values else self._known[name] for name in self._program.outputs}
        return {name: self._as_declared(name, value) for name, value in found.items()}

    def _states(self, state: CoreMLState | None) -> dict[str, Array]:
        """Return the arrays of a state."""
        expected = {each.name: each.shapes[:1] for each in self._function.states}
        if state is None and expected:
            raise PredictionError(f"got no state, expected one with {', '.join(expected)}; make_state gives it")
        if state is None:
            return {}
        if not isinstance(state, ReferenceState):
            raise PredictionError(f"got a state of type {type(state).__name__}, expected what make_state gives")
        found = {name: (array.shape,) for name, array in state.arrays.items()}
        if found != expected:
            raise PredictionError(
                f"got a state with {found}, expected {expected or 'none: the function has no states'}"
            )
        return state.arrays

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Value]:
        features = {feature.name: feature for feature in self._function.inputs}
        if inputs.keys() != features.keys():
            raise PredictionError(f"got inputs {', '.join(inputs)}, expected {', '.join(features)}")
        return {name: self._typed(name, _checked(features[name], array)) for name, array in inputs.items()}

    def _widened(self, name: str, value: Value) -> Value:
        """Return a constant in the type that it has in this run; floats are held as float32."""
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float16, np.float32):
            return value
        halved = self._float16 and value.dtype == np.float32
        if not halved and value.dtype == np.float32:
            return value
        key = f"{self._program.stored.get(name)}:{halved}"
        if name not in self._program.stored or (array := _WIDENED.get(key)) is None:
            with np.errstate(over="ignore"):
                array = (value.astype(np.float16) if halved else value).astype(np.float32)
            if name in self._program.stored:
                _WIDENED[key] = array
        return array

    def _folded(self) -> list[Operation]:
        """Run what depends on no input, such as the expansion of compressed weights, and return all else."""
        operations = []
        for operation in self._program.operations:
            is_kept = self._keeps_expanded or not operation.type.startswith(_COMPRESSED)
            if is_kept and all(name in self._known for names in operation.inputs.values() for name in names):
                self._known.update(self._computed(operation, self._operands(operation, {}, {})))
            else:
                operations.append(operation)
        return operations

    def _prepared(self, operations: list[Operation]) -> list[_Step]:
        """Look up the operands that are known, and find the values that nothing after a step needs."""
        seen = {*self._known, *self._program.outputs, *self._program.states}
        steps = []
        for operation in reversed(operations):
            touched = {*operation.outputs, *(name for names in operation.inputs.values() for name in names)}
            known = {
                parameter: self._operand(parameter, names, {})
                for parameter, names in operation.inputs.items()
                if all(name in self._known for name in names)
            }
            steps.append(_Step(operation, known, tuple(sorted(touched - seen))))
            seen |= touched
        return steps[::-1]

    def _run(self, index: int, step: _Step, values: dict[str, Value], states: dict[str, Array]) -> None:
        """Add the results of a step to the values, or change a state."""
        operation = step.operation
        if operation.type == READ:
            values[operation.outputs[0]] = states[operation.inputs["input"][0]]
        elif operation.type == WRITE:
            (state,), (name,) = operation.inputs["input"], operation.inputs["data"]
            value = values[name] if name in values else self._known[name]
            if np.shape(value) != states[state].shape:
                raise BackendError(f"the state {one_line(state)} cannot be written: got the shape {np.shape(value)}")
            kept = index in self._updates.kept
            states[state] = np.asarray(value) if kept else np.array(value, np.float32)
        else:
            operands = self._operands(operation, step.known, values)
            if index in self._updates.in_place:
                operands["in_place"] = True
            values.update(self._computed(operation, operands))

    def _operands(self, operation: Operation, known: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
        operands = dict(known)
        for parameter, names in operation.inputs.items():
            if parameter not in operands:
                operands[parameter] = self._operand(parameter, names, values)
        return operands

    def _operand(self, parameter: str, names: tuple[str, ...], values: Mapping[str, Value]) -> Any:
        found = [values[name] if name in values else self._known[name] for name in names]
        return found if parameter in _LISTS else found[0]

    def _computed(self, operation: Operation, operands: dict[str, Any]) -> dict[str, Value]:
        operator = OPERATORS[operation.type]
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
        if moved:
            return np.asarray(value, np.float32)
        array = np.ascontiguousarray(value, np.float32).reshape(np.shape(value))
        if self._is_half(dtype):
            round_to_float16(array)
        return array

    def _is_half(self, dtype: str) -> bool:
        return dtype == "float16" if self._float16 is None else self._float16

    def _as_declared(self, name: str, value: Value) -> Array:
        """Return an output in its own type; float32 where float16 is not to be seen."""
        dtype = self._program.types[name].dtype
        with np.errstate(over="ignore"):
            return np.array(value, numpy_type("float32" if self._is_precise(dtype) else dtype), order="C")

    def _is_precise(self, dtype: str) -> bool:
        return dtype == "float16" and self._float16 is False


def _checked(feature: Feature, array: Array) -> Array:
    if not feature.accepts(array.shape):
        raise PredictionError(f"got {feature.name} of shape {array.shape}, expected {feature.accepted}")
    if not feature.dtype.startswith("int"):
        return np.array(array, np.float32)
    if array.dtype.kind not in "iu" or np.abs(array, dtype=np.int64).max(initial=0) > _LARGEST:
        raise PredictionError(f"got {feature.name} as {array.dtype}, expected whole numbers of {feature.dtype}")
    return np.array(array, np.int32)


@dataclass(eq=False)
class ReferenceRuntime:
    """The reference runtime in the place of Apple's: any machine, and no Neural Engine. Parameters: of its models."""

    name: str = "simul_whisper.coreml.reference:REFERENCE"
    float16: bool | None = None
    keep_expanded: bool = True
    progress: ProgressHandler = silent

    def has_neural_engine(self) -> bool:
        return False

    def compiled(self, path: Path, directory: Path) -> Path:  # noqa: ARG002
        """Nothing is compiled here."""
        return path

    def open(self, path: Path, compute_units: str, function: str = "") -> ReferenceModel:  # noqa: ARG002
        """Load an .mlpackage, or that function of it; compute units mean nothing here."""
        return ReferenceModel(
            path,
            function=function,
            float16=self.float16,
            keep_expanded=self.keep_expanded,
            progress=self.progress,
        )


REFERENCE = ReferenceRuntime()
