"""Packages with functions and states: described, executed, and refused what they do not take."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("coremltools", exc_type=ImportError)
from simul_whisper import WeightsError
from simul_whisper.coreml.contents import contents
from simul_whisper.coreml.description import Feature, Function, describe
from simul_whisper.coreml.reference import REFERENCE, ReferenceModel
from simul_whisper.coreml.spec import read_program
from simul_whisper.coreml.states import PredictionError, ReferenceState, Updates, updates
from tests.simul_whisper.coreml.programs import mb, saved
from tests.simul_whisper.coreml.stateful import (
    CACHE,
    N_PLACES,
    TABLE,
    Body,
    expected,
    forgetting,
    remembering,
    saved_function,
    saved_functions,
    updated,
)

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


def looking_back(tokens: Any, position: Any, cache: Any, n: int) -> Any:
    """Sum the state as it was before it was written, by its own value and by a slice of it, and as it is then."""
    old = mb.read_state(input=cache)
    part = mb.slice_by_index(x=old, begin=[0, 0, 0, 0], end=[1, *CACHE[1:]])
    x = mb.expand_dims(x=mb.gather(x=mb.const(val=TABLE), indices=tokens, axis=0), axes=[2])
    new = updated(cache, old, x, 0, (position, mb.add(x=position, y=np.array([n], np.int32))))
    sums = [mb.reduce_sum(x=each, axes=[0, 1], keep_dims=False) for each in (old, part, new)]
    return mb.concat(values=sums, axis=0, name="sums")


def looking_ahead(tokens: Any, position: Any, cache: Any, n: int) -> Any:
    """Take a slice of a new value before that is written, and sum it after another update."""
    old, end = mb.read_state(input=cache), mb.add(x=position, y=np.array([n], np.int32))
    x = mb.expand_dims(x=mb.gather(x=mb.const(val=TABLE), indices=tokens, axis=0), axes=[2])
    new = mb.slice_update(x=old, update=x, begin=[0, 0, 0, 0], end=[1, 1, 1, 64])
    part = mb.slice_by_index(x=new, begin=[0, 0, 0, 0], end=[1, *CACHE[1:]])
    first = mb.coreml_update_state(state=cache, value=new)
    second = updated(cache, first, mb.mul(x=x, y=np.float16(3)), 0, (position, end))
    sums = [mb.reduce_sum(x=each, axes=[0, 1], keep_dims=False) for each in (part, old, second)]
    return mb.concat(values=sums, axis=0, name="sums")


@pytest.mark.parametrize("body", [remembering, forgetting, looking_back, looking_ahead])
def test_in_place_or_not_the_answers_are_the_same(body: Body, tmp_path: Path) -> None:
    path = saved_function(tmp_path, body)
    quick, plain = ReferenceModel(path), ReferenceModel(path)
    plain._updates = Updates()
    states = quick.make_state(), plain.make_state()
    for position, token in enumerate([3, 1, 4, 1, 5]):
        answers = [
            model.predict(fed(position, token), state) for model, state in zip((quick, plain), states, strict=True)
        ]
        np.testing.assert_array_equal(answers[0]["sums"], answers[1]["sums"])
    np.testing.assert_array_equal(states[0].read_state("cache"), states[1].read_state("cache"))


@pytest.mark.parametrize(("body", "n_in_place", "lost"), [(remembering, 2, set()), (forgetting, 0, {"cache"})])
def test_what_a_later_write_undoes_is_found(body: Body, n_in_place: int, lost: set[str], tmp_path: Path) -> None:
    program = read_program(saved_function(tmp_path, body))
    found = updates(program.operations, program.states, program.outputs)
    assert (len(found.in_place), found.lost) == (n_in_place, lost)
    model = ReferenceModel(tmp_path / f"{body.__name__}1.mlpackage")
    state = model.make_state()
    model.predict(fed(0, 3), state)
    assert state.read_state("cache")[:, 0].any(axis=(1, 2)).tolist() == [not lost, True]


def test_flags_of_states(tmp_path: Path) -> None:
    def masking(tokens: Any, position: Any, cache: Any, n: int) -> Any:  # noqa: ARG001
        return mb.add(x=mb.read_state(input=cache), y=np.float16(-np.inf), name="sums")

    flags = contents(saved_function(tmp_path, masking)).flags
    assert "masks of infinity, of which devices have made NaN where -1e4 does as well: add (x1)" in flags
    lost = "written from a value that is older than the last write, which is lost: cache"
    assert lost in contents(saved_function(tmp_path, forgetting)).flags


def test_flags_of_states_from_what_a_compiled_model_says(tmp_path: Path) -> None:
    def feature(name: str, shape: str) -> dict[str, str]:
        return {"name": name, "shape": shape, "dataType": "Float16"}

    def function(name: str, *states: dict[str, str]) -> dict[str, Any]:
        return {
            "name": name,
            "inputSchema": [feature("x", "[1, 4]")],
            "outputSchema": [feature("y", "[1, 4]")],
            "stateSchema": list(states),
        }

    content = {
        "functions": [function("b"), function("a", feature("wide", "[1, 270]"), feature("even", "[1, 256]"))],
        "defaultFunctionName": "a",
        "storagePrecision": "Mixed (Float16, Palettized (4 bits))",
        "userDefinedMetadata": {"com.github.apple.coremltools.version": "9.0"},
    }
    path = tmp_path / "x.mlmodelc"
    path.mkdir()
    (path / "metadata.json").write_text(json.dumps([content]))
    found = describe(path)
    assert [each.name for each in found.functions] == ["a", "b"]
    assert [each.shapes for each in found.states] == [((1, 270),), ((1, 256),)]
    assert contents(path).flags == (
        "states that the Neural Engine does not take, as their last size is no multiple of 32: wide",
        "palettes of four bits beside states, made by coremltools 9.0, have crashed after some 100 predictions",
        "its functions have different states: whether a device lets them share one is unknown",
    )
    for wrong in ({"defaultFunctionName": "c"}, {"functions": "a"}, {"functions": [function("a")] * 17}):
        (path / "metadata.json").write_text(json.dumps([content | wrong]))
        with pytest.raises(WeightsError, match=r"metadata\.json: got the (default function|functions)"):
            describe(path)


def test_states_have_the_numbers_of_their_type(package: Path) -> None:
    precise = np.full(CACHE, 1 + 2.0**-15, np.float32)
    for choice, kept in ((None, 1.0), (True, 1.0), (False, precise.flat[0])):
        state = ReferenceModel(package, float16=choice).make_state()
        state.write_state("cache", precise)
        assert state.read_state("cache").dtype == (np.float32 if choice is False else np.float16)
        assert (state.read_state("cache") == kept).all()


def test_what_is_read_and_written_is_a_copy(package: Path) -> None:
    model, value = ReferenceModel(package), np.zeros(CACHE, np.float16)
    state = model.make_state()
    state.write_state("cache", value)
    read = state.read_state("cache")
    model.predict(fed(0, 3), state)
    assert not value.any()
    assert not read.any()


def test_a_state_is_refused_by_what_is_wrong_with_it(package: Path, tmp_path: Path) -> None:
    state = ReferenceModel(package).make_state()
    for wrong in (np.zeros(CACHE[1:]), np.zeros(CACHE, str)):
        with pytest.raises(
            PredictionError, match=r"got the state cache as .*, expected numbers of shape \(2, 32, 1, 64"
        ):
            state.write_state("cache", wrong)
    for use in (state.read_state, lambda name: state.write_state(name, np.zeros(CACHE))):
        with pytest.raises(PredictionError, match="got no state other, only cache"):
            use("other")
    model = ReferenceModel(package)
    others = ReferenceState([Feature("other", (CACHE,), "float16")], float16=True)
    for given, said in (
        (None, "got no state, expected one with cache"),
        (others, "got a state with"),
        ("x", "type str"),
    ):
        with pytest.raises(PredictionError, match=said):
            model.predict(fed(0, 1), given)  # type: ignore[arg-type]
    plain = ReferenceModel(saved(tmp_path))
    with pytest.raises(PredictionError, match="function main has no states"):
        plain.make_state()
    with pytest.raises(PredictionError, match="expected none: the function has no states"):
        plain.predict({"x": np.zeros((1, 8, 20))}, state)


@pytest.mark.parametrize("tokens", [np.ones((1, 1)), np.ones((1, 1), bool), np.full((1, 1), 2**31)])
def test_tokens_are_whole_numbers(tokens: Any, package: Path) -> None:
    model = ReferenceModel(package)
    with pytest.raises(PredictionError, match=r"got tokens as .*, expected whole numbers of int32"):
        model.predict(fed(0, 1) | {"tokens": tokens}, model.make_state())


@pytest.mark.parametrize("token", [-1, 9])
def test_negative_tokens_count_from_the_end(token: int, package: Path) -> None:
    model = ReferenceModel(package)
    state = model.make_state()
    model.predict(fed(0, token), state)
    np.testing.assert_array_equal(state.read_state("cache")[0, 0, 0], TABLE[token])
