"""A plan of Core ML's, in coremltools' own classes, read, counted and printed as on a Mac."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simul_whisper import BackendError
from simul_whisper.coreml.plan import Planned, Row, Unit, planned, rows
from simul_whisper.coreml.runtime import AppleRuntime
from streaming.cli import coreml_check, main

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

from coremltools.models import compute_device, compute_plan  # noqa: E402

# On a Mac each is made by the framework alone.
CPU, GPU, ENGINE = (
    object.__new__(kind)
    for kind in (
        compute_device.MLCPUComputeDevice,
        compute_device.MLGPUComputeDevice,
        compute_device.MLNeuralEngineComputeDevice,
    )
)
EVERYWHERE = [CPU, GPU, ENGINE]


def operation(name: str, *inside: Any) -> Any:
    blocks = [compute_plan.MLModelStructureProgramBlock([], list(inside), [])] if inside else []
    return compute_plan.MLModelStructureProgramOperation({}, f"ios16.{name}", [], blocks, None)


@dataclass
class StandIn:
    """What Core ML would say: for each operation, by the name of its operator, its units and its cost."""

    functions: dict[str, list[Any]]
    units: dict[str, tuple[Any, list[Any]]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)

    @property
    def model_structure(self) -> Any:
        functions = {
            name: compute_plan.MLModelStructureProgramFunction(
                [], compute_plan.MLModelStructureProgramBlock([], operations, [])
            )
            for name, operations in self.functions.items()
        }
        return compute_plan.MLModelStructure(None, compute_plan.MLModelStructureProgram(functions), None)

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        name = operation.operator_name.removeprefix("ios16.")
        return compute_plan.MLComputePlanDeviceUsage(*self.units[name]) if name in self.units else None

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        name = operation.operator_name.removeprefix("ios16.")
        return compute_plan.MLComputePlanCost(self.costs[name]) if name in self.costs else None


PLAN = StandIn(
    {
        "main": [
            operation("const"),
            operation("conv"),
            operation("gather"),
            operation("cond", operation("conv"), operation("softmax")),
            operation("constexpr_lut_to_dense"),
        ]
    },
    {
        "conv": (ENGINE, EVERYWHERE),
        "gather": (CPU, [CPU, GPU]),
        "cond": (CPU, [CPU]),
        "softmax": (GPU, EVERYWHERE),
    },
    {"conv": 0.25, "gather": 0.3, "softmax": 0.2},
)


class Mac(AppleRuntime):
    """A Mac that has this plan; asked: the models that it compiled, and what it was asked to plan."""

    def __init__(self, plan: Any) -> None:
        self.plan, self.asked = plan, list[tuple[str, str]]()

    def compiled(self, path: Path, directory: Path) -> Path:
        assert directory.is_dir()
        return directory / f"{path.stem}.mlmodelc"

    def compute_plan(self, compiled: Path, compute_units: str) -> Any:
        self.asked.append((compiled.name, compute_units))
        if isinstance(self.plan, Exception):
            raise self.plan
        return self.plan


def test_operations_are_read_in_order_without_constants_and_with_those_within() -> None:
    mac = Mac(PLAN)
    every = frozenset([Unit.CPU, Unit.GPU, Unit.NEURAL_ENGINE])
    assert planned(Path("x.mlpackage"), "CPU_AND_NE", mac) == [
        Planned("main", "conv", Unit.NEURAL_ENGINE, every, 0.25),
        Planned("main", "gather", Unit.CPU, frozenset([Unit.CPU, Unit.GPU]), 0.3),
        Planned("main", "cond", Unit.CPU, frozenset([Unit.CPU]), 0.0),
        Planned("main", "conv", Unit.NEURAL_ENGINE, every, 0.25),
        Planned("main", "softmax", Unit.GPU, every, 0.2),
        Planned("main", "constexpr_lut_to_dense", Unit.UNKNOWN, frozenset(), 0.0),
    ]
    assert mac.asked == [("x.mlmodelc", "CPU_AND_NE")]


def test_what_is_compiled_already_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x.mlmodelc").mkdir()
    mac = Mac(PLAN)
    assert planned(tmp_path / "x.mlpackage", "ALL", mac) == planned(tmp_path / "x.mlmodelc", "ALL", mac)


def test_types_are_counted_by_unit_and_the_most_costly_are_first() -> None:
    found = rows(planned(Path("x.mlpackage"), "ALL", Mac(PLAN)))
    none = dict.fromkeys(Unit, 0)
    assert found[:3] == [
        Row("conv", none | {Unit.NEURAL_ENGINE: 2}, 0.5),
        Row("gather", none | {Unit.CPU: 1}, 0.3),
        Row("softmax", none | {Unit.GPU: 1}, 0.2),
    ]
    assert {row.cost for row in found[3:]} == {0.0}


def test_a_plan_without_costs_has_shares_of_none() -> None:
    (row,) = rows(planned(Path("x.mlpackage"), "ALL", Mac(StandIn({"main": [operation("conv")]}))))
    assert (row.type, row.cost, row.counts[Unit.UNKNOWN]) == ("conv", 0.0, 1)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (RuntimeError("MLComputePlan is not available\non this macOS"), "x.mlpackage: Core ML tells no plan: MLComp"),
        (ValueError(), "tells no plan: ValueError"),
        (StandIn({}), "it is no mlProgram"),
    ],
)
def test_a_device_that_cannot_tell_is_one_line(plan: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(plan, StandIn):
        structure = compute_plan.MLModelStructure(None, None, None)
        monkeypatch.setattr(StandIn, "model_structure", structure)
    with pytest.raises(BackendError, match=said) as caught:
        planned(Path("x.mlpackage"), "ALL", Mac(plan))
    assert "\n" not in str(caught.value)


def info(package: Path, mac: Mac, monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(coreml_check, "default_runtime", lambda: mac)
    return main(["coreml", "info", str(package), *flags])


def test_info_prints_a_table(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    functions = {"audio": [operation("conv")], "step": PLAN.functions["main"]}
    mac = Mac(StandIn(functions, PLAN.units, PLAN.costs))
    assert info(package, mac, monkeypatch, "--compute-units", "CPU_AND_NE") == 0
    assert mac.asked == [("ggml-tiny.en-encoder.mlmodelc", "CPU_AND_NE")]
    plan = capsys.readouterr().out.partition("plan ")
    assert (plan[1] + plan[2]).splitlines() == [
        "plan      audio with CPU_AND_NE: of the estimated cost 100 % on the Neural Engine",
        "          operator   Engine     cost",
        "          conv            1  100.0 %",
        "plan      step with CPU_AND_NE: of the estimated cost 30 % on the CPU, 20 % on the GPU, "
        "50 % on the Neural Engine",
        "          operator                    CPU      GPU   Engine  unknown     cost",
        "          conv                          0        0        2        0   50.0 %",
        "          gather                        1        0        0        0   30.0 %",
        "          softmax                       0        1        0        0   20.0 %",
        "          cond                          1        0        0        0    0.0 %",
        "          constexpr_lut_to_dense        0        0        0        1    0.0 %",
        "          not on the Neural Engine, which it cannot run: gather (x1), cond (x1)",
        "          not on the Neural Engine, which it could run, and is not to: softmax (x1)",
    ]


def test_what_may_not_run_on_the_neural_engine_is_not_counted_against_it(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert info(package, Mac(PLAN), monkeypatch, "--compute-units", "CPU_ONLY") == 0
    assert "not on the Neural Engine" not in capsys.readouterr().out.partition("plan ")[2]


def test_info_without_a_plan(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mac = Mac(RuntimeError("not on this macOS"))
    assert info(package, mac, monkeypatch) == 0
    assert "plan      none: ggml-tiny.en-encoder.mlpackage: Core ML tells no plan: not on" in capsys.readouterr().out
    assert info(package, mac, monkeypatch, "--no-plan") == 0
    assert "plan " not in capsys.readouterr().out
    assert len(mac.asked) == 1
