"""A day of a service, simulated: its sums are right, and what is done about load shows in them."""

from dataclasses import replace

import numpy as np
import pytest

from scripts.day.parameters import Day, learned
from scripts.day.simulation import HOUR_S, Outcome, Simulation
from scripts.simulate_day import WAYS, gains, lived, main

# From midnight on the curve is all but flat, and low.
DAY = Day(streams=600, talk_s=120.0, speech_s=10.0, hours=0.5, fails_h=0.0, replicas=1, cost=0.1)


def run(day: Day, *, admits: bool = True, scales: bool = False) -> tuple[Simulation, Outcome]:
    made = Simulation(day, admits=admits, scales=scales)
    return made, made.run()


def n_open(made: Simulation) -> int:
    return sum(each.n_open for each in made.replicas.values())


@pytest.mark.parametrize("admits", [True, False])
@pytest.mark.parametrize("scales", [True, False])
def test_whoever_comes_is_served_refused_or_waits_yet(admits: bool, scales: bool) -> None:
    made, outcome = run(replace(DAY, fails_h=0.2), admits=admits, scales=scales)
    assert outcome.n_came == outcome.n_served + outcome.n_refused + len(made._coming)
    assert n_open(made) == int((made._sessions.replica >= 0).sum())
    assert outcome.n_failures > 0
    assert outcome.late <= outcome.words
    if not admits:
        assert outcome.n_refused == 0


def test_who_comes_is_the_same_however_the_service_is_run() -> None:
    ways = [run(DAY, admits=admits)[1] for admits in (True, True, False)]
    assert len({each.n_came for each in ways}) == 1
    assert ways[0] == ways[1] != ways[2]
    assert run(replace(DAY, seed=1))[1].n_came != ways[0].n_came


def test_admission_keeps_words_in_time_that_are_late_without_it() -> None:
    crowd = replace(DAY, streams=1_500)
    (_, without), (_, admitted) = run(crowd, admits=False), run(crowd)
    assert without.late / without.words > 0.05
    assert admitted.late / admitted.words < 0.01
    assert admitted.n_refused > 0
    assert without.longest_s > 1 > admitted.longest_s


def test_what_is_spoken_is_decoded_at_its_cost() -> None:
    """One replica, two steps: three speakers who take half of its time each."""
    day = replace(DAY, cost=0.5, silence=0.0, streams=1)
    made = Simulation(replace(day, streams=0), admits=False, scales=False)
    for _ in range(3):
        made._sessions.open(0, 1e9)
    made._speak()
    assert made._wait_s == pytest.approx([2 * (3 * 0.5 - 1)])
    made._speak()
    # A second late, all of it is decoded at once from now on.
    assert made._wait_s == pytest.approx([2.0])
    made._speak()
    used = 3 * 0.5 * (0.8 / (1 + 2.0) + 0.2)
    assert made._wait_s == pytest.approx([max(0.0, 2.0 + 2 * (used - 1))])


def test_sessions_of_a_dead_replica_go_on_elsewhere_and_catch_up() -> None:
    made = Simulation(replace(DAY, replicas=2, streams=0, silence=0.0), admits=True, scales=False)
    for number in (0, 1, 1):
        made._sessions.open(number, 1e9)
        made.replicas[number].n_open += 1
    made.replicas[1].fails_s = 0.0
    made._fail()
    assert (made.outcome.n_failures, made.replicas[0].n_open, n_open(made)) == (1, 3, 3)
    made._speak()
    assert made._minute[1] >= 2 * made._minute[0] / 3 * 0.99
    for _ in range(20):
        made._speak()
    assert not made._sessions.is_behind.any()


def test_gains_are_read_and_make_a_replica_bear_more() -> None:
    assert gains("8=0.5,1=1") == ((1.0, 1.0), (8.0, 0.5))
    assert replace(DAY, gain=gains("1=1,4=0.5")).borne > 1.5 * DAY.borne
    assert DAY.alone(np.array([1, 5])) == pytest.approx([0.1, 0.1])
    assert learned(DAY).listener_cost == pytest.approx(0.1 * (1 - DAY.silence), rel=0.05)


def test_replicas_cost_what_they_run() -> None:
    _, outcome = run(replace(DAY, replicas=3, streams=0))
    assert outcome.replica_s == 3 * 0.5 * HOUR_S
    assert [lived(replace(DAY, replicas=0, hours=0.02), way).n_came for way in WAYS]


def test_the_table_has_a_row_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--streams", "50", "--hours", "0.02"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == [way.name for way in WAYS]
