"""What a pool bears, from what its listeners cost; when nobody is let in whatever that says; and when to come back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.sessions.admission import LEAST_WAIT_S, MOST_WAIT_S, USABLE, Admission, Lateness, Ratio, Stays, Why


def capacity(admission: Admission, now_s: float = 0.0) -> int:
    found = admission.capacity(now_s)
    assert found is not None
    return found


def spoken(
    admission: Admission, n: int, seconds: float, cost: float, share: float = 1.0, *, late: bool = False
) -> None:
    """So many listeners, who speak so much of the time, at this cost for each second of speech."""
    admission.note_sessions(0.0, n, n)
    for _ in range(round(seconds)):
        admission.took(n, 0.0)
        admission.decoded(0.0, n * share, n * share * cost, is_late=late)


def test_a_ratio_is_that_of_the_newest() -> None:
    ratio = Ratio(4.0, 10.0)
    assert ratio.value == 4.0
    ratio.add(10.0, 0.0, math.inf)
    assert ratio.value == 2.0
    ratio.add(1_000.0, 7_000.0, 10.0)
    assert ratio.value == pytest.approx(7.0)


@given(st.floats(1e-4, 10.0))
def test_at_first_everybody_is_taken_to_speak_all_the_time(cost: float) -> None:
    n = capacity(Admission(cost, 0.0))
    assert n == max(1, math.floor(USABLE / cost + 1e-9))


@given(st.floats(0.001, 0.2), st.floats(0.0, 1.0), st.integers(1, 50))
def test_a_quiet_house_bears_more_but_not_any_number(cost: float, share: float, n: int) -> None:
    admission, loud = Admission(cost, 0.0), capacity(Admission(cost, 0.0))
    spoken(admission, n, 600, cost, share)
    assert loud <= capacity(admission) <= 1 + loud / 0.3


@given(st.floats(0.001, 0.05), st.floats(0.5, 3.0))
def test_what_listeners_cost_is_learned_within_minutes(cost: float, factor: float) -> None:
    admission = Admission(cost, 0.0)
    spoken(admission, 4, 600, factor * cost)
    assert admission.listener_cost == pytest.approx(factor * cost, rel=0.02)
    assert capacity(admission) == pytest.approx(USABLE / (factor * cost), abs=1 + 0.02 * USABLE / (factor * cost))


def test_what_was_late_teaches_nothing_and_drafts_cost_nothing() -> None:
    admission = Admission(0.05, 0.0)
    admission.decoded(0.0, 60.0, 0.1, is_late=True)
    assert admission.listener_cost == pytest.approx(0.05)
    half = Admission(0.05, 0.0)
    for _ in range(300):
        half.decoded(0.0, 1.0, 9.0, is_late=False, is_draft=True)
        half.decoded(0.0, 1.0, 0.1, is_late=False)
        half.took(2.0, 0.0)
    assert half.listener_cost == pytest.approx(0.05, rel=0.1)


def test_hearing_where_speech_is_costs_something_too() -> None:
    admission = Admission(0.05, 0.0)
    for _ in range(600):
        admission.took(1.0, 0.01)
    assert admission.listener_cost == pytest.approx(0.3 * 0.05 + 0.01, rel=0.05)


def test_a_listener_more_than_can_be_borne_is_refused_and_one_less_is_let_in() -> None:
    admission = Admission(USABLE / 8, 0.0)
    assert admission.full(0.0, 7, 7) is None
    full = admission.full(0.0, 8, 8)
    assert full
    assert full.why is Why.LOAD
    assert [admission.n_places(0.0, n, n) for n in (0, 7, 8, 9)] == [8, 1, 0, 0]
    # Uploads are open, and no listeners.
    assert admission.full(0.0, 30, 7) is None


def test_one_is_let_in_however_slow_the_model_is() -> None:
    assert Admission(50.0, 0.0).full(0.0, 0, 0) is None
    assert Admission(50.0, 0.0).full(0.0, 1, 1)


def test_a_limit_that_is_set_holds_in_any_case() -> None:
    for admission in (Admission(None, 0.0), Admission(0.001, 0.0)):
        full = admission.full(0.0, 3, 0, most=3)
        assert full
        assert full.why is Why.LIMIT
        assert admission.n_places(0.0, 1, 1, most=3) == 2
    assert Admission(None, 0.0).full(0.0, 10_000, 10_000) is None
    assert Admission(None, 0.0).n_places(0.0, 9, 9) is None


def test_while_audio_waits_nobody_is_let_in_and_afterwards_fewer_are_for_a_while() -> None:
    admission, at_first = Admission(0.01, 0.0), capacity(Admission(0.01, 0.0))
    spoken(admission, 10, 60, 0.01)
    for _ in range(60):
        admission.decoded(0.0, 1.0, 0.01, is_late=True)
    full = admission.full(0.0, 10, 10)
    assert full
    assert full.why is Why.LATE
    assert admission.n_places(0.0, 10, 10) == 0
    # Nobody is there any more who could wait.
    assert admission.full(0.0, 0, 0) is None
    later_s = 120.0
    assert admission.full(later_s, 10, 10) is None
    assert 0.8 * at_first < capacity(admission, later_s) < 0.95 * at_first
    assert capacity(admission, 36_000.0) == at_first


def test_lateness_ends_later_than_it_begins() -> None:
    lateness = Lateness(0.0)
    for _ in range(200):
        lateness.add(0.0, is_late=False)
    begins = [lateness.add(0.0, is_late=True) for _ in range(20)]
    assert begins.count(True) == 1
    n_good = 0
    while lateness.is_late(0.0):
        lateness.add(0.0, is_late=False)
        n_good += 1
    assert n_good > 1_000
    # Where nothing is decoded any more, time alone ends it.
    for _ in range(200):
        lateness.add(0.0, is_late=True)
    assert [lateness.is_late(at_s) for at_s in (0.0, 300.0)] == [True, False]


def test_a_place_comes_free_as_sessions_end() -> None:
    stays = Stays(0.0)
    stays.note(0.0, 10)
    assert stays.wait_s(0.0) == pytest.approx(60.0)
    for minute in range(1, 200):
        stays.note(60.0 * minute, 10, n_ended=5)
    # Each of ten stays two minutes.
    assert stays.wait_s(12_000.0) == pytest.approx(12.0, rel=0.05)


def test_who_is_told_later_is_to_come_later_and_who_does_not_wait_changes_little() -> None:
    stays = Stays(0.0)
    stays.note(0.0, 60)
    told = [stays.promise(0.0) for _ in range(5)]
    assert told == pytest.approx([10.0, 20.0, 30.0, 40.0, 50.0])
    assert stays.promise(25.0) == pytest.approx(40.0)
    for _ in range(10_000):
        stays.promise(25.0)
    assert stays.wait_s(25.0) <= MOST_WAIT_S


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 500), st.integers(0, 500), st.booleans()), max_size=30),
)
def test_a_wait_is_always_one_that_can_be_obeyed(steps: list[tuple[float, int, int, bool]]) -> None:
    stays, now_s = Stays(0.0), 0.0
    for later_s, n_open, n_ended, asks in steps:
        now_s += later_s
        stays.note(now_s, n_open, n_ended)
        wait_s = stays.promise(now_s) if asks else stays.wait_s(now_s)
        assert LEAST_WAIT_S <= wait_s <= MOST_WAIT_S
