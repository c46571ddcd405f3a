"""Packages with functions and states: described, executed with states that are kept, and refused what they do not take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import WeightsError
from simul_whisper.coreml.description import Feature, Function, describe
from simul_whisper.coreml.reference import REFERENCE, ReferenceModel
from simul_whisper.coreml.states import PredictionError
from tests.simul_whisper.coreml.programs import saved
from tests.simul_whisper.coreml.stateful import CACHE, N_PLACES, expected, forgetting, saved_function, saved_functions

CACHE_STATE = Feature("cache", (CACHE,), "float16")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_functions(tmp_path_factory.mktemp("functions"))


def fed(position: int, *tokens: int) -> dict[str, Any]:
    return {"tokens": np.array([tokens], np.int32), "position": np.array([position], np.int32)}


def test_functions_and_states_are_described(package: Path) -> None:
    found = describe(package)
    assert [each.name for each in found.functions] == ["one", "many"]
    assert found.states == (CACHE_STATE,)
    assert found.inputs == (Feature("tokens", ((1, 1),), "int32"), Feature("position", ((1,),), "int32"))
    many = found.function("many")
    assert many.inputs[0].shapes == ((1, 4),)
    assert many.states == found.function().states
    with pytest.raises(WeightsError, match="got no function `main`, only one, many"):
        found.function("main")


def test_a_model_of_one_function_calls_it_main(tmp_path: Path) -> None:
    found = describe(saved_function(tmp_path))
    assert found.functions == ()
    assert found.function("main") == found.function() == Function("main", found.inputs, found.outputs, (CACHE_STATE,))


def test_states_are_kept_between_predictions_and_functions(package: Path) -> None:
    many, one = (ReferenceModel(package, function=name) for name in ("many", ""))
    state, other = many.make_state(), one.make_state()
    written = {0: [1, 2, 3, 4], 4: [5], 2: [6]}
    for position, tokens in written.items():
        answer = (many if len(tokens) > 1 else one).predict(fed(position, *tokens), state)
    np.testing.assert_allclose(answer["sums"], expected(written), rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(other.read_state("cache"), np.zeros(CACHE))
    assert one.predict(fed(3, 7), other)["sums"].shape == (2, 1, 64)


def test_updates_are_made_in_place(package: Path) -> None:
    model = REFERENCE.open(package, "CPU_ONLY", "one")
    state = model.make_state()
    memory = state.arrays["cache"]
    model.predict(fed(N_PLACES - 1, 3), state)
    assert state.arrays["cache"] is memory
    assert memory[:, -1].all()
