"""What is told of several replicas as if they were one."""

from types import SimpleNamespace
from typing import Any

from streaming.cluster.metrics import PoolMetrics
from streaming.sessions.metrics import SessionMetrics
from tests.streaming.serving import counted


def replica(name: str, **gauges: float) -> Any:
    """What is read of an attendant. gauges: what its replica has measured."""
    metrics = SessionMetrics()
    for gauge, value in gauges.items():
        getattr(metrics, gauge).set(value)
    return SimpleNamespace(name=name, metrics=metrics.read(), is_open=True, n_sessions=0, waiting_audio_s=0.0)


def test_places_are_added_up_and_what_a_listener_costs_is_not() -> None:
    new = SimpleNamespace(name="new", metrics=(), is_open=False, n_sessions=0, waiting_audio_s=0.0)
    two: Any = [
        replica("a", listeners_most=8, listener_cost=0.1, waiting_audio_s=2.0),
        replica("b", listeners_most=4, listener_cost=0.2, waiting_audio_s=1.0),
        new,
    ]
    told = counted(PoolMetrics().read(two, waiting_s=0.5))
    assert (told["listeners_most"], told["waiting_audio_seconds"]) == (12, 3.5)
    assert round(told["listener_cost"], 9) == 0.15
    assert counted(PoolMetrics().read([], waiting_s=0.5))["waiting_audio_seconds"] == 0.5
