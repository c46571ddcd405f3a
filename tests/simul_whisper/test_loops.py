"""What is a repeat loop, and how much of it only repeats; and what is somebody who repeats themselves."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.alignatt import AlignedToken
from simul_whisper.loops import BEFORE_WINDOW, looped_tail, repeated_tail, said_before

# Frames from one token to the next: nobody speaks faster than 16 tokens a second, or says a word six times in one.
SPOKEN = 8

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


NO_MARKS = frozenset[int]().__contains__


def read(tokens: Sequence[int], frames: Iterable[int]) -> list[AlignedToken]:
    return [AlignedToken(token, frame, -0.1) for token, frame in zip(tokens, frames, strict=True)]


@settings(deadline=None)
@given(distinct_tokens, st.integers(2, 12), st.data())
def test_who_repeats_themselves_is_heard(phrase: list[int], n_times: int, data: st.DataObject) -> None:
    text = phrase * n_times
    frames = [SPOKEN * n for n in range(len(text))]
    n_gone = data.draw(st.integers(0, len(text) - 1))
    frames[:n_gone] = [BEFORE_WINDOW] * n_gone
    assert looped_tail(read(text, frames), NO_MARKS) == 0


@settings(deadline=None)
@given(distinct_tokens, st.integers(0, 6), st.integers(0, 5))
def test_what_is_read_from_where_the_attention_stands_is_a_loop(phrase: list[int], n_said: int, more: int) -> None:
    """What was said before it, one time or many, stays; and a time or two more, which may only be misread."""
    n_stuck = max(3, -(-8 // len(phrase))) + more
    said = read(phrase * n_said, range(0, SPOKEN * len(phrase) * n_said, SPOKEN))
    last = said[-1].frame if said else 0
    text = [*said, *read(phrase * n_stuck, [last] * len(phrase) * n_stuck)]
    n_kept = (len(text) - looped_tail(text, NO_MARKS)) / len(phrase)
    assert max(1, n_said) <= n_kept < n_said + 2


def test_a_time_that_is_misread_is_no_loop() -> None:
    """As Whisper reads "no, no, no": one of them, and the commas, from somewhere else."""
    frames = [6, 38, 28, 64, 70, 83, 73, 107, 96, 126, 119, 154, 145, 154, 166, 187, 189, 209]
    assert looped_tail(read([1, 2] * 9, frames), {2}.__contains__) == 0


def test_a_mark_that_is_read_later_is_no_word_that_is_said_again() -> None:
    text = read([1, 2] * 6, [10, 44, 21, 43, 52, 60, 52, 80, 52, 100, 52, 120])
    assert looped_tail(text, {2}.__contains__) == 6
    assert looped_tail(text, NO_MARKS) == 0


def test_a_phrase_that_is_heard_again_in_part_belongs_to_the_loop() -> None:
    """As Whisper loops over "replied he"."""
    assert looped_tail(read([1, 2] * 4, [18, 43, 65, 42, 54, 41, 54, 41]), NO_MARKS) == 6


def test_what_led_into_a_loop_is_a_part_of_it() -> None:
    before = read([5] * 4, [BEFORE_WINDOW] * 4)
    assert looped_tail([*before, *read([5] * 4, [8, 14, 8, 16])], NO_MARKS) == 7
    assert looped_tail([*before, *read([5] * 3, [8, 8, 8])], NO_MARKS) == 0


@pytest.mark.parametrize(
    ("text", "following", "expected"),
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
def test_what_was_said_before_is_told(text: list[int], following: int, expected: int) -> None:
    frames = [SPOKEN * n for n in range(len(text))]
    (again,) = read([following], [0])
    assert said_before(read(text, frames), again) == expected
    (later,) = read([following], [SPOKEN * len(text) + 30])
    assert said_before(read(text, frames), later) == 0
    assert said_before(read(text, [BEFORE_WINDOW] * len(text)), later) == expected
