"""Packages of functions and states that a stranger made: refused in one line, within bounds."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from simul_whisper.coreml.contents import contents
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.coreml.states import PredictionError
from simul_whisper.errors import WeightsError
from tests.simul_whisper.coreml.stateful import saved_functions
from tests.simul_whisper.coreml.test_hostile_packages import changed


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of two functions, which share a state."""
    return saved_functions(tmp_path_factory.mktemp("stateful"))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ([2**40, 2**20], f"got states of {4 * 2**60} bytes, expected at most"),
        ([2**15, 2**15], "expected at most"),
        ([2, 0], "expected floats of one shape"),
        ([-1, 5], "expected floats of one shape"),
        ([], "expected floats of one shape"),
    ],
)
def test_a_state_of_an_absurd_size_is_refused(shape: list[int], said: str, stateful: Path, tmp_path: Path) -> None:
    def absurd(spec: Any) -> None:
        for function in spec.description.functions:
            function.state[0].type.stateType.arrayType.shape[:] = shape

    package = Path(shutil.copytree(stateful, tmp_path / "absurd.mlpackage"))
    changed(absurd)(package)
    model = ReferenceModel(package)
    with pytest.raises(PredictionError, match=said):
        model.make_state()


@pytest.mark.parametrize(
    ("operation", "parameter", "said"),
    [
        ("read_state", "input", "read_state of nothing"),
        ("write_state", "input", "write_state of nothing"),
        ("write_state", "data", "write_state of nothing"),
        ("slice_update", "x", "slice_update of nothing"),
    ],
)
def test_a_state_that_is_not_named_is_refused(
    operation: str, parameter: str, said: str, stateful: Path, tmp_path: Path
) -> None:
    def unnamed(spec: Any) -> None:
        (block,) = spec.mlProgram.functions["one"].block_specializations.values()
        del next(each for each in block.operations if each.type == operation).inputs[parameter]

    package = Path(shutil.copytree(stateful, tmp_path / "unnamed.mlpackage"))
    changed(unnamed)(package)
    with pytest.raises(WeightsError, match=f"its program cannot be understood: {said}"):
        contents(package)


def test_a_state_that_is_not_there_is_refused(stateful: Path, tmp_path: Path) -> None:
    def elsewhere(spec: Any) -> None:
        (block,) = spec.mlProgram.functions["one"].block_specializations.values()
        read = next(each for each in block.operations if each.type == "read_state")
        read.inputs["input"].arguments[0].name = "tokens"

    package = Path(shutil.copytree(stateful, tmp_path / "elsewhere.mlpackage"))
    changed(elsewhere)(package)
    with pytest.raises(WeightsError, match="its program cannot be understood: read_state of no state"):
        contents(package)


def test_a_function_that_the_program_lacks_is_refused(stateful: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(stateful, tmp_path / "lacking.mlpackage"))
    changed(lambda spec: spec.mlProgram.functions.pop("many"))(package)
    assert ReferenceModel(package, function="one")
    with pytest.raises(WeightsError, match="with the functions one, expected an mlProgram with a function `many`"):
        contents(package)
