"""What a worker lets in: it is measured before anybody speaks, learned from listeners alone, and told."""

from dataclasses import replace

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, Timing
from streaming.events import Reason
from streaming.sessions.calibration import _cost, babble, cost_of_speech
from streaming.sessions.doorkeeper import Doorkeeper, House
from streaming.sessions.metrics import SessionMetrics
from streaming.sessions.request import Refusal
from streaming.sessions.scheduled import Taken, Told
from streaming.sessions.session import Turn
from streaming.settings import WorkerConfig
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, counted
from tests.streaming.working import HandClock, collected, made, running, said
from tests.tones import tone_model

TOLD = Told(Turn((), Timing()), 0.0, 0.0, [], SAMPLE_RATE, 0.5, is_draft=False, is_backlog=False)
TAKEN = Taken(SAMPLE_RATE, 0, 0.0, is_backlog=False)


@pytest.fixture
def _three_are_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.sessions.worker.cost_of_speech", lambda *_: 0.25)


@pytest.mark.usefixtures("_three_are_borne")
def test_beyond_what_is_borne_a_session_is_refused_until_another_has_ended() -> None:
    with running(made(admit=True)) as worker:
        assert worker.wait_ready(PATIENCE_S).n_places == 3
        handles = [worker.open(voice=OFF) for _ in range(3)]
        assert worker.health().n_places == 0
        with pytest.raises(Refusal, match="3 sessions are open, and one more could not be served in time") as refused:
            worker.open(voice=OFF)
        assert refused.value.reason is Reason.TOO_MANY_SESSIONS
        # Whoever comes next would have to wait for two.
        assert (refused.value.retry_after_s, worker.health().retry_after_s) == (200.0, 240.0)
        collected(said(handles[0]))
        worker.open(voice=OFF)
        told = counted(worker.metrics())
        assert (told["sessions_refused_total"], told["listeners_most"]) == (1, 3)


def test_without_admission_any_number_is_let_in_and_a_limit_that_is_set_holds() -> None:
    with running(made()) as worker:
        assert worker.wait_ready(PATIENCE_S).n_places is None
        for _ in range(40):
            worker.open(voice=OFF)
    with running(made(max_sessions=1)) as worker:
        worker.open(voice=OFF)
        with pytest.raises(Refusal, match="a session is open, and no more are allowed") as refused:
            worker.open(voice=OFF)
        assert refused.value.retry_after_s


def test_listeners_teach_what_they_cost_and_uploads_nothing() -> None:
    def cost(*done: Taken | Told) -> float:
        metrics = SessionMetrics()
        door = Doorkeeper(WorkerConfig(), metrics, HandClock())
        door.begin(0.1)
        door.note_sessions(House(1, 1))
        for _ in range(600):
            for each in done:
                door.note(each)
        door.write_metrics()
        return counted(metrics.read())["listener_cost"]

    assert cost(TAKEN, TOLD) == pytest.approx(0.5, rel=0.02)
    assert cost(replace(TAKEN, is_backlog=True), replace(TOLD, is_backlog=True)) == pytest.approx(0.1)
    assert cost(TAKEN, replace(TOLD, waited_s=2.0)) == pytest.approx(0.1)
    assert cost(TAKEN, replace(TOLD, n_decoded=0)) == pytest.approx(0.3 * 0.1)


def test_a_turn_says_what_was_decoded_and_for_whom() -> None:
    """An upload is nobody's to listen to, and what its passes decode is all of it."""
    done = list[Taken | Told]()

    class Noting(Doorkeeper):
        def note(self, each: Taken | Told) -> None:
            done.append(each)
            super().note(each)

    worker = made()
    worker._door = Noting(WorkerConfig(), SessionMetrics(), HandClock())
    handle = said(worker.open(voice=OFF))
    with running(worker):
        collected(handle)
    n_taken = sum(each.n_samples for each in done if isinstance(each, Taken))
    assert n_taken == sum(each.n_decoded for each in done if isinstance(each, Told)) > 0
    assert any(each.is_backlog for each in done)


def test_calibration_counts_passes_by_the_segment_and_at_pauses_and_leaves_out_what_comes_once() -> None:
    timings = [Timing(total_s=1.3, language_s=0.2, step_s=(0.05, 0.05), windows=1)] * 3
    assert _cost(timings, 1.0) == pytest.approx(1.13 * 1.0 + 4.8 * 0.05)
    assert _cost(timings, 2.0) == pytest.approx(0.73 * 1.0 + 4.8 * 0.05)
    assert _cost([Timing(), *timings], 1.0) == _cost(timings, 1.0)


def test_a_model_is_measured_by_what_sounds_like_a_voice() -> None:
    sound = babble(2.0)
    assert sound.shape == (2 * SAMPLE_RATE,)
    assert sound.dtype == np.float32
    assert 0.05 < float(np.abs(sound).max()) < 0.31
    assert cost_of_speech(tone_model(), CONFIG) > 0
