"""How much is asked of a replica, read from what a real pool counts."""

from streaming.cluster.autoscaling import Load
from streaming.cluster.load_meter import LoadMeter
from streaming.sessions.metrics import SessionMetrics
from tests.streaming.working import HandClock, made, running, said


def test_a_load_is_what_was_counted_since_the_one_before() -> None:
    clock, counted = HandClock(), SessionMetrics()
    meter = LoadMeter(clock)
    counted.sessions_open.set(2)
    counted.waiting_audio_s.set(3)
    counted.compute_s.inc(4)
    clock.now_s = 10
    assert meter.load(counted.read(), n_places=2) == Load(1.5, 0.4, 0.5)
    clock.now_s = 12
    assert meter.load(counted.read(), n_places=None) == Load(1.5, 0, 0)
    # Of a pass that is over now, most was done before.
    counted.compute_s.inc(9)
    clock.now_s = 13
    assert meter.load(counted.read(), n_places=0) == Load(1.5, 1, 1)


def test_audio_waits_before_a_pool_runs_and_not_after() -> None:
    worker = made(max_sessions=2, buffer_s=600)
    meter = LoadMeter(HandClock())
    handle = said(worker.open())
    before = meter.load(worker.metrics(), worker.health().n_places)
    assert before.waiting_s > 1
    assert before.full == 0.5
    with running(worker):
        worker.stop(60)
    assert handle.log.is_over
    assert meter.load(worker.metrics(), worker.health().n_places) == Load(0, 0, 0)
