"""Where Core ML means to run each operation of a model, and what share of the work it is: its plan, read and counted.

Only a Mac can make a plan, for its own units. What is read has the shape of coremltools' MLComputePlan.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from simul_whisper.coreml.runtime import COMPILED_SUFFIX, AppleRuntime
from simul_whisper.errors import BackendError
from simul_whisper.foreign_files import one_line


class Unit(Enum):
    CPU = "CPU"
    GPU = "GPU"
    NEURAL_ENGINE = "Neural Engine"
    UNKNOWN = "unknown"


_CLASSES = {
    "MLCPUComputeDevice": Unit.CPU,
    "MLGPUComputeDevice": Unit.GPU,
    "MLNeuralEngineComputeDevice": Unit.NEURAL_ENGINE,
}


@dataclass(frozen=True)
class Planned:
    """One operation that is no constant. preferred: UNKNOWN where Core ML does not say. cost: share of all, 0 to 1."""

    function: str
    type: str
    preferred: Unit
    supported: frozenset[Unit]
    cost: float


@dataclass(frozen=True)
class Row:
    """All operations of one type. counts: by the unit that is to run them. cost: share of their function, 0 to 1."""

    type: str
    counts: dict[Unit, int]
    cost: float


def planned(path: Path, compute_units: str, runtime: AppleRuntime) -> list[Planned]:
    """Return the operations of an `.mlpackage` or `.mlmodelc` in order, as this Mac would run them.

    Core ML compiles the model for the device, which takes minutes for large ones. Raises BackendError, whatever it
    raises, as it does before macOS 14.4.
    """
    beside = path.with_suffix(COMPILED_SUFFIX)
    try:
        with tempfile.TemporaryDirectory() as folder:
            # Given a package, Core ML ends the process.
            compiled = beside if beside.exists() else runtime.compiled(path, Path(folder))
            plan = runtime.compute_plan(compiled, compute_units)
            return list(_operations(plan))
    # What coremltools raises is documented nowhere.
    except Exception as error:
        raise BackendError(f"{path.name}: Core ML tells no plan: {one_line(error) or type(error).__name__}") from error


def rows(operations: Iterable[Planned]) -> list[Row]:
    """Count the operations of one function by their type, most costly types first."""
    types = dict[str, list[Planned]]()
    for each in operations:
        types.setdefault(each.type, []).append(each)
    total = sum(each.cost for found in types.values() for each in found) or 1.0
    counted = [
        Row(
            name,
            {unit: sum(each.preferred is unit for each in found) for unit in Unit},
            sum(each.cost for each in found) / total,
        )
        for name, found in types.items()
    ]
    return sorted(counted, key=lambda row: row.cost, reverse=True)


def _operations(plan: Any) -> Iterator[Planned]:
    program = plan.model_structure.program
    if program is None:
        raise ValueError("it is no mlProgram")
    for name, function in program.functions.items():
        for operation in _inside(function.block):
            # "ios16.conv" is conv.
            kind = operation.operator_name.rpartition(".")[2]
            if kind != "const":
                usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
                cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
                yield Planned(
                    name,
                    kind,
                    _unit(usage.preferred_compute_device) if usage else Unit.UNKNOWN,
                    frozenset(map(_unit, usage.supported_compute_devices)) if usage else frozenset(),
                    cost.weight if cost else 0.0,
                )


def _inside(block: Any) -> Iterator[Any]:
    """Yield the operations of a block, and of those within, which loops and conditions have."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _inside(inner)


def _unit(device: Any) -> Unit:
    return _CLASSES.get(type(device).__name__, Unit.UNKNOWN)
