"""How many replicas are wanted, for loads that were thought up and for any."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.cluster.autoscaling import Bounds, ByWaitingAudio, Load, pressure, wanted_replicas

BOUNDS = Bounds(waiting_s=1.0, busy=0.8, full=0.9, calm=0.6)
IDLE, AT_WORK = Load(0, 0, 0), Load(0.2, 0.7, 0.5)


@dataclass(frozen=True)
class Seen:
    """What Serve shows a policy."""

    target_num_replicas: int
    aggregated_metrics: dict[str, dict[str, float]] | None


def seen(target: int, *loads: Load) -> Seen:
    metrics = {name: {f"r{n}": getattr(load, name) for n, load in enumerate(loads)} for name in vars(IDLE)}
    return Seen(target, metrics if loads else None)


@pytest.mark.parametrize(
    ("loads", "wanted"),
    [
        ([AT_WORK], 1),
        ([IDLE], 1),
        # Audio waits, a replica has no time left, or takes no more sessions: each alone is enough.
        ([Load(1.5, 0, 0)], 2),
        ([Load(0, 0.95, 0)], 2),
        ([Load(0, 0, 1)], 2),
        # As many as the audio needs, but not more than twice as many at once.
        ([Load(2.5, 1, 1), Load(2.5, 1, 1)], 4),
        ([Load(30, 1, 1)] * 3, 6),
        ([Load(1.4, 0.7, 0.5)] * 4, 6),
        # One is late and the other could help, which only new sessions can: the mean counts.
        ([Load(1.3, 0.7, 0.5), Load(0, 0.1, 0.1)], 2),
        # One at a time goes, when the others can have what it has.
        ([IDLE] * 5, 4),
        ([Load(0, 0.2, 0)] * 2, 1),
        ([Load(0, 0.3, 0)] * 2, 2),
    ],
)
def test_how_many_are_wanted(loads: list[Load], wanted: int) -> None:
    assert wanted_replicas(loads, BOUNDS) == wanted


_LOADS = st.lists(
    st.builds(Load, st.floats(0, 60), st.floats(0, 1), st.floats(0, 1)),
    min_size=1,
    max_size=20,
)


@given(_LOADS, st.floats(0.05, 0.95))
def test_what_was_decided_is_not_taken_back(loads: list[Load], calm: float) -> None:
    """The same work, shared by fewer replicas after one has gone, asks for no more of them."""
    bounds = Bounds(calm=calm)
    n = wanted_replicas(loads, bounds)
    assert 1 <= n <= 2 * len(loads)
    if n < len(loads):
        asked = sum(pressure(each, bounds) for each in loads)
        assert wanted_replicas([Load(bounds.waiting_s * asked / n, 0, 0)] * n, bounds) <= n


@given(_LOADS)
def test_more_audio_never_asks_for_fewer(loads: list[Load]) -> None:
    more = [Load(each.waiting_s + 1, each.busy, each.full) for each in loads]
    assert wanted_replicas(more, BOUNDS) >= wanted_replicas(loads, BOUNDS)


def test_nothing_is_decided_before_anybody_has_reported() -> None:
    assert ByWaitingAudio()(seen(3)) == (3, {})


def test_those_that_are_being_made_are_waited_for() -> None:
    late, policy = Load(9, 1, 1), ByWaitingAudio()
    assert policy(seen(2, late)) == (2, {})
    assert policy(seen(2, late, late)) == (4, {})


def test_replicas_that_there_is_no_room_for_do_not_keep_others_from_going() -> None:
    assert ByWaitingAudio()(seen(4, IDLE, IDLE)) == (1, {})


@pytest.mark.parametrize("bounds", [{"waiting_s": 0.0}, {"busy": -1.0}, {"calm": 1.0}])
def test_impossible_bounds_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected numbers above 0"):
        ByWaitingAudio(**bounds)
