"""Where pieces go, by timestamps that are true, jitter, jump or lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio.timeline import (
    MAX_DECLARED_SILENCE_S,
    MAX_SILENCE_S,
    SILENCE_PER_HEARD,
    TOLERANCE_S,
    Piece,
    Place,
    Timeline,
    without_outliers,
)

STEP_S = 0.02


def pieces(*starts_s: float | None, duration_s: float = STEP_S) -> list[Piece[str]]:
    return [Piece("sound", start_s, duration_s) for start_s in starts_s]


def row(from_s: float, n: int) -> list[float | None]:
    """The starts of so many pieces one behind the other."""
    return [from_s + i * STEP_S for i in range(n)]


def placed(given_pieces: list[Piece[str]], timeline: Timeline | None = None) -> list[Place]:
    timeline = timeline or Timeline()
    return [timeline.place(piece) for piece in without_outliers(given_pieces)]


@given(st.lists(st.floats(-0.9 * TOLERANCE_S, 0.9 * TOLERANCE_S), min_size=1, max_size=200))
def test_jitter_changes_nothing(jitter_s: list[float]) -> None:
    starts = [i * STEP_S + each for i, each in enumerate(jitter_s)]
    places = placed(pieces(*starts))
    assert not any(place.is_apart for place in places)
    assert places[-1].end_s == pytest.approx(len(starts) * STEP_S)


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 20)), min_size=1, max_size=20))
def test_gaps_are_kept_whatever_there_are(runs: list[tuple[int, float]]) -> None:
    starts, at_s = list[float | None](), 0.0
    for n, gap_s in runs:
        at_s += gap_s
        starts += row(at_s, n)
        at_s += n * STEP_S
    places = placed(pieces(*starts), Timeline(declared_end_s=at_s))
    assert [place.start_s for place in places] == pytest.approx(starts)


@given(st.lists(st.none() | st.floats(-1e9, 1e9), max_size=60))
def test_no_timestamps_create_hours_or_go_back(starts: list[float | None]) -> None:
    timeline = Timeline()
    end_s, heard_s = 0.0, 0.0
    for place in placed(pieces(*starts), timeline):
        assert place.start_s == pytest.approx(end_s + place.gap_s)
        assert place.end_s >= place.start_s
        end_s, heard_s = place.end_s, heard_s + place.end_s - place.start_s
    assert end_s <= MAX_SILENCE_S + (1 + SILENCE_PER_HEARD) * heard_s + 1e-6


def test_a_late_start_is_a_gap() -> None:
    assert placed(pieces(*row(5, 3)))[0] == Place(5.0, 5.02, gap_s=5.0, is_apart=True)


def test_an_overlap_is_cut() -> None:
    places = placed(pieces(*row(0, 100), *row(1.0, 100)))
    assert places[-1].end_s == pytest.approx(3.0)
    assert sum(place.cut_s for place in places) == pytest.approx(1.0)


def test_a_recording_joined_to_another_goes_on() -> None:
    timeline = Timeline()
    places = placed(pieces(*row(0, 400), *row(0, 400), *row(3600, 5)), timeline)
    assert places[-1].end_s == pytest.approx(16.1)
    assert [jump.at_s for jump in timeline.jumps] == pytest.approx([8.0, 16.0])


def test_a_jump_by_hours_is_not_followed_and_told() -> None:
    timeline = Timeline()
    places = placed(pieces(*row(0, 100), *row(95_443, 100)), timeline)
    assert places[-1].end_s == pytest.approx(4.0)
    (jump,) = timeline.jumps
    assert (jump.at_s, jump.by_s) == pytest.approx((2.0, 95_441.0))


def test_an_hour_is_believed_where_it_is_declared() -> None:
    starts = [*row(0, 100), *row(MAX_DECLARED_SILENCE_S, 10)]
    assert placed(pieces(*starts))[-1].end_s < 10
    assert placed(pieces(*starts), Timeline(MAX_DECLARED_SILENCE_S + 1))[-1].end_s == pytest.approx(3600.2)


@given(st.integers(1, 98), st.floats(-1e6, 1e6).filter(lambda by_s: abs(by_s) > 1))
def test_one_wrong_timestamp_does_nothing(index: int, by_s: float) -> None:
    starts = row(0, 100)
    starts[index] = index * STEP_S + by_s
    places = placed(pieces(*starts))
    assert not any(place.is_apart for place in places)
    assert places[-1].end_s == pytest.approx(2.0)


def test_after_a_loss_the_time_is_taken_anew() -> None:
    given_pieces = pieces(*row(0, 10))
    given_pieces += [Piece(None, 0.2, 0.0), *pieces(*row(0.23, 3))]
    places = placed(given_pieces)
    assert (places[11].start_s, places[11].gap_s) == pytest.approx((0.23, 0.03))
    assert [place.is_apart for place in places[10:]] == [False, True, False, False]


def test_without_timestamps_it_counts() -> None:
    assert placed(pieces(*[None] * 50))[-1].end_s == pytest.approx(1.0)
