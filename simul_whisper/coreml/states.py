"""States of the reference runtime: what `make_state` returns, and which updates of them can be made in place.

A program reads a state as a value, computes another and writes that, layer after layer. Copying all of it each time
would cost more than the rest of a step, so the copy is left out wherever nothing looks at the old value again.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.description import Feature
from simul_whisper.coreml.operators import OPERATORS
from simul_whisper.errors import BackendError
from simul_whisper.foreign_files import one_line

if TYPE_CHECKING:
    from simul_whisper.coreml.spec import Operation

Array = NDArray[Any]
READ, WRITE, UPDATE = "read_state", "write_state", "slice_update"
# The largest Whisper's take 640 MB.
_MOST_BYTES = 2 << 30


class PredictionError(BackendError, RuntimeError):
    """Inputs or states that the model does not take; a RuntimeError, as coremltools raises."""


class ReferenceState:
    """States by name, as coremltools' MLState has them; zeros at first.

    arrays: float32, whose numbers float16 has too where float16 is true; then float16 is what is read and written.
    Raises PredictionError when they cannot be made.
    """

    def __init__(self, states: Sequence[Feature], *, float16: bool) -> None:
        self.float16 = float16
        shapes = {each.name: _shape(each) for each in states}
        n_bytes = sum(4 * math.prod(shape) for shape in shapes.values())
        if n_bytes > _MOST_BYTES:
            raise PredictionError(f"got states of {n_bytes} bytes, expected at most {_MOST_BYTES}")
        self.arrays: dict[str, Array] = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def read_state(self, name: str) -> Array:
        """Return a copy. Raises PredictionError when there is no such state."""
        return self._array(name).astype(np.float16 if self.float16 else np.float32)

    def write_state(self, name: str, value: Array) -> None:
        """Replace a state. Raises PredictionError when there is no such state, or it has another shape."""
        expected, array = self._array(name).shape, np.asarray(value)
        if array.shape != expected or array.dtype.kind not in "fiu":
            raise PredictionError(
                f"got the state {name} as {array.dtype} {array.shape}, expected numbers of shape {expected}"
            )
        with np.errstate(over="ignore"):
            rounded = array.astype(np.float16) if self.float16 else array
        self.arrays[name] = rounded.astype(np.float32)

    def _array(self, name: str) -> Array:
        if name not in self.arrays:
            raise PredictionError(f"got no state {name}, only {one_line(', '.join(self.arrays))}")
        return self.arrays[name]


def _shape(state: Feature) -> tuple[int, ...]:
    if len(state.shapes) != 1 or state.dtype not in ("float16", "float32") or min(state.shapes[0]) < 1:
        found = f"{state.dtype} {' or '.join(map(str, state.shapes))}"
        raise PredictionError(
            f"got the state {one_line(state.name)} as {one_line(found)}, expected floats of one shape"
        )
    return state.shapes[0]


@dataclass
class Updates:
    """How a program treats its states, by indices of its operations.

    in_place: slice_updates that may change their operand. kept: writes whose value nobody else changes, so that it need
    not be copied. lost: states that are written from a value older than their last write, which is undone.
    """

    in_place: set[int] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)


def updates(operations: Sequence["Operation"], states: Sequence[str], outputs: Sequence[str]) -> Updates:
    """Follow the states of a program, whose operations are in the order in which they run."""
    return _Follower(operations, states, outputs).found


class _Follower:
    def __init__(self, operations: Sequence["Operation"], states: Sequence[str], outputs: Sequence[str]) -> None:
        self.found = Updates()
        self._operations = operations
        self._versions = dict.fromkeys(states, 0)
        # Which state, in which version, a value is the whole of, or was made from by updates of slices.
        self._origins: dict[str, tuple[str, int]] = {}
        # In which state's memory a value may lie.
        self._sharing: dict[str, str] = {}
        # The last operation that looks at any of those values.
        self._busy_until = dict.fromkeys(states, -1)
        self._accesses: dict[str, list[int]] = {state: [] for state in states}
        self._last_uses = dict[str, int]()
        for index, operation in enumerate(operations):
            self._last_uses |= dict.fromkeys((name for names in operation.inputs.values() for name in names), index)
        # Outputs are copied when all has run.
        self._last_uses |= dict.fromkeys(outputs, len(operations))
        for index, operation in enumerate(operations):
            if operation.type in (READ, WRITE):
                self._accesses[operation.inputs["input"][0]].append(index)
        for index, operation in enumerate(operations):
            if operation.type == READ:
                self._now_holds(operation.inputs["input"][0], operation.outputs[0])
            elif operation.type == WRITE:
                self._write(index, operation.inputs["input"][0], operation.inputs["data"][0])
            elif operation.type == UPDATE:
                self._update(index, operation.inputs["x"][0], operation.outputs[0])
            elif operation.type in OPERATORS and not OPERATORS[operation.type].arithmetic:
                self._move(operation)

    def _now_holds(self, state: str, value: str) -> None:
        self._origins[value] = (state, self._versions[state])
        self._shares(state, value)

    def _shares(self, state: str, value: str) -> None:
        self._sharing[value] = state
        self._busy_until[state] = max(self._busy_until[state], self._last_uses.get(value, -1))

    def _write(self, index: int, state: str, value: str) -> None:
        origin = self._origins.get(value)
        if origin and origin[0] == state and origin[1] != self._versions[state]:
            self.found.lost.add(state)
        self._versions[state] += 1
        # What an update returned is in memory of its own, or of this state.
        if origin and self._sharing.get(value, state) == state:
            self.found.kept.add(index)
            self._now_holds(state, value)

    def _update(self, index: int, x: str, result: str) -> None:
        if x not in self._origins:
            return
        state, version = self._origins[result] = self._origins[x]
        if version == self._versions[state] and self._sharing.get(x) == state and self._is_last(index, state, result):
            self.found.in_place.add(index)
        # A copy is in the state's memory as soon as it is written.
        self._shares(state, result)

    def _is_last(self, index: int, state: str, result: str) -> bool:
        """Return whether nothing looks at the old value after this update, and the new one is written next."""
        accesses = self._accesses[state]
        following = bisect_right(accesses, index)
        if self._busy_until[state] > index or following == len(accesses):
            return False
        operation = self._operations[accesses[following]]
        return operation.type == WRITE and operation.inputs["data"] == (result,)

    def _move(self, operation: "Operation") -> None:
        """What only moves numbers may return the memory that it got."""
        for names in operation.inputs.values():
            for state in {self._sharing[name] for name in names if name in self._sharing}:
                for output in operation.outputs:
                    self._shares(state, output)
