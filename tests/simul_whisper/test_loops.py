"""What is a repeat loop, and how much of it only repeats."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.loops import repeated_tail, said_before

distinct_tokens = st.lists(st.integers(0, 50_000), min_size=1, max_size=10, unique=True)


@settings(deadline=None)
@given(distinct_tokens, st.integers(0, 5), st.data())
def test_all_but_one_instance_of_a_loop_repeats(phrase: list[int], more: int, data: st.DataObject) -> None:
    n_repeats = max(3, -(-8 // len(phrase))) + more
    before = data.draw(st.lists(st.integers(50_001, 60_000), max_size=20, unique=True))
    part = data.draw(st.integers(0, len(phrase) - 1))
    text = before + phrase * n_repeats + phrase[:part]
    kept = len(text) - repeated_tail(text)
    assert text[:kept] == before + phrase


@settings(deadline=None)
@given(distinct_tokens)
def test_saying_it_twice_is_no_loop(phrase: list[int]) -> None:
    assert repeated_tail(phrase * 2) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 50_000), max_size=100, unique=True))
def test_text_without_repetition_is_no_loop(text: list[int]) -> None:
    assert repeated_tail(text) == 0


def test_no_no_no_is_no_loop() -> None:
    assert [repeated_tail([5] * n) for n in range(10)] == [0] * 8 + [7, 8]
    assert repeated_tail([1, 5, 6, 5, 6, 5, 6]) == 0
    assert repeated_tail([1, 5, 6, 5, 6, 5, 6, 5, 6]) == 6


def test_a_loop_that_has_ended_is_none() -> None:
    assert repeated_tail([*[1, 2, 3] * 5, 4]) == 0


@pytest.mark.parametrize(
    ("text", "next_token", "expected"),
    [
        ([], 1, 0),
        ([1], 1, 0),
        ([1, 2, 3, 4], 5, 0),
        ([1, 2, 3, 4, 1], 2, 1),
        ([1, 2, 3, 4, 1], 3, 0),
        ([1, 2, 3, 4, 1, 2], 3, 2),
        ([9, 1, 2, 3, 4, 1, 2, 3], 4, 3),
    ],
)
def test_what_was_said_before_is_told(text: list[int], next_token: int, expected: int) -> None:
    assert said_before(text, next_token) == expected
