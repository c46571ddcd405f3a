"""What every pool does: the thread of this process, and replicas elsewhere."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, AudioFormatError, ConfigError, Model, ModelNotFoundError
from streaming.cluster.pool import ReplicaPool
from streaming.cluster.replica import of_replica
from streaming.events import AudioDropped, Cleared, Ended, Event, Failed, Flushed, Reason
from streaming.sessions.pool import RunningPool, State
from streaming.sessions.request import Refusal
from streaming.sessions.session import Session, SessionEndedError
from streaming.sessions.worker import Worker
from streaming.settings import WorkerConfig
from tests.sounds import silence
from tests.streaming.cluster.local import LocalReplicas
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, counted, text_of
from tests.streaming.working import MODEL, SPEECH, collected, ended, said

Pool = Callable[..., AbstractContextManager[RunningPool]]


@contextmanager
def started(pool: RunningPool) -> Any:
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


def a_thread(load: Callable[[], Model] = lambda: MODEL, **options: Any) -> AbstractContextManager[RunningPool]:
    return started(Worker(load, CONFIG, WorkerConfig(**options)))


def replicas(load: Callable[[], Model] = lambda: MODEL, **options: Any) -> AbstractContextManager[RunningPool]:
    asked = WorkerConfig(**options)
    made_of = LocalReplicas(2, lambda: Worker(load, CONFIG, of_replica(asked), lets_all_in=True))
    return started(ReplicaPool(made_of, CONFIG, asked))


@pytest.fixture(params=[a_thread, replicas])
def pool(request: pytest.FixtureRequest) -> Pool:
    made_by: Pool = request.param
    return made_by


def test_a_session_is_heard_as_it_is_without_a_pool(pool: Pool) -> None:
    with pool(late_s=1_000) as running:
        events = collected(said(running.open(voice=OFF)))
    session = Session(CONFIG, MODEL, OFF)
    assert events == ended(session.feed(SPEECH.samples) + session.end())
    assert text_of(events) == SPEECH.text


def test_audio_may_come_while_others_are_heard(pool: Pool) -> None:
    with pool() as running:
        handles = [running.open(voice=OFF) for _ in range(4)]
        for piece in np.array_split(SPEECH.samples, 50):
            for handle in handles:
                handle.submit(piece)
        for handle in handles:
            handle.end()
        assert [text_of(collected(handle)) for handle in handles] == [SPEECH.text] * 4


def test_a_flush_comes_where_it_was_asked_for(pool: Pool) -> None:
    middle = SPEECH.starts[7]
    with pool() as running:
        handle = running.open(voice=OFF)
        handle.submit(SPEECH.samples[:middle])
        handle.flush()
        said(handle, SPEECH.samples[middle:])
        for late in (handle.flush, handle.end, lambda: handle.submit(silence(1))):
            with pytest.raises(SessionEndedError):
                late()
        events = collected(handle)
    (flushed,) = [n for n, event in enumerate(events) if isinstance(event, Flushed)]
    assert events[flushed] == Flushed(middle / SAMPLE_RATE)
    assert len(text_of(events[:flushed]).split()) == 7
    assert text_of(events) == SPEECH.text


def test_what_is_cleared_is_not_heard_and_times_go_on(pool: Pool) -> None:
    with pool() as running:
        running.wait_ready(PATIENCE_S)
        handle = running.open(voice=OFF)
        handle.submit(SPEECH.samples)
        handle.clear(SAMPLE_RATE)
        said(handle, SPEECH.samples[SPEECH.starts[17] :])
        events = collected(handle)
    (cleared,) = [n for n, event in enumerate(events) if isinstance(event, Cleared)]
    assert events[cleared] == Cleared(len(SPEECH.samples) / SAMPLE_RATE + 1)
    assert text_of(events[cleared:]).split() == SPEECH.text.split()[17:]
    assert events[-1] == Ended((2 * len(SPEECH.samples) - SPEECH.starts[17]) / SAMPLE_RATE + 1)


def test_a_hole_is_told_where_it_is(pool: Pool) -> None:
    with pool() as running:
        handle = running.open(voice=OFF)
        rest = SPEECH.samples[: SPEECH.starts[7]]
        assert handle.submit(rest) == len(rest)
        until = time.monotonic() + PATIENCE_S
        while not handle.skip(SAMPLE_RATE):
            assert time.monotonic() < until
            time.sleep(0.01)
        said(handle, SPEECH.samples[SPEECH.starts[7] :])
        events = collected(handle)
    (hole,) = [n for n, event in enumerate(events) if isinstance(event, AudioDropped)]
    assert events[hole] == AudioDropped(len(rest) / SAMPLE_RATE, len(rest) / SAMPLE_RATE + 1)
    assert len(text_of(events[:hole]).split()) == 7
    assert text_of(events) == SPEECH.text


def test_a_full_session_takes_what_it_has_room_for_and_more_later(pool: Pool) -> None:
    with pool(buffer_s=1.0) as running:
        handle = running.open(voice=OFF)
        rest = SPEECH.samples
        taken = handle.submit(rest)
        assert taken == SAMPLE_RATE
        rest = rest[taken:]
        cursor, events = handle.log.cursor(), list[Event]()
        while len(rest):
            events += cursor.read(0.01)
            rest = rest[handle.submit(rest) :]
        handle.end()
        assert text_of(events + collected(handle, cursor)) == SPEECH.text


def test_what_overflows_is_told(pool: Pool) -> None:
    with pool(buffer_s=4.0) as running:
        handle = running.open(voice=OFF)
        assert handle.submit(SPEECH.samples, drop_oldest=True) == len(SPEECH.samples)
        handle.end()
        events = collected(handle)
        lost_s = len(SPEECH.samples) / SAMPLE_RATE - 4.0
        assert events[0] == AudioDropped(0.0, lost_s)
        assert counted(running.metrics())["dropped_audio_seconds_total"] == pytest.approx(lost_s)
    words = text_of(events).split()
    assert len(words) >= 7
    assert words[-7:] == SPEECH.text.split()[-7:]


def test_wrong_audio_and_settings_change_nothing(pool: Pool) -> None:
    with pool() as running:
        handle = running.open(voice=OFF)
        with pytest.raises(AudioFormatError):
            handle.submit(np.zeros((2, 2), np.float32))
        said(handle)
        with pytest.raises(ConfigError):
            running.open(type(CONFIG)(frame_threshold=-1))
        assert text_of(collected(handle)) == SPEECH.text


def test_no_more_sessions_are_open_than_are_allowed(pool: Pool) -> None:
    with pool(max_sessions=2) as running:
        handles = [running.open(voice=OFF) for _ in range(2)]
        with pytest.raises(Refusal, match="2 sessions are open"):
            running.open()
        assert text_of(collected(said(handles[0]))) == SPEECH.text
        assert text_of(collected(said(running.open(voice=OFF)))) == SPEECH.text
        assert counted(running.metrics())["sessions_refused_total"] == 1


def test_what_only_the_model_can_refuse_ends_the_session(pool: Pool) -> None:
    with pool() as running:
        handle = running.open(type(CONFIG)(language="yue"), OFF)
        (failed,) = collected(handle)
        assert isinstance(failed, Failed)
        assert failed.reason is Reason.CONFIG
        assert counted(running.metrics())["sessions_failed_total"] == 1


def test_a_model_that_cannot_be_loaded_fails_the_pool_and_its_sessions(pool: Pool) -> None:
    may_fail = threading.Event()

    def no_model() -> Model:
        may_fail.wait(PATIENCE_S)
        raise ModelNotFoundError("no such model")

    with pool(no_model) as running:
        handle = running.open()
        may_fail.set()
        health = running.wait_ready(PATIENCE_S)
        assert (health.state, health.is_ready) == (State.FAILED, False)
        assert health.message == "no such model"
        assert collected(handle) == [Failed(Reason.ENGINE, health.message)]
        with pytest.raises(Refusal, match="no such model"):
            running.open()


def test_what_was_done_is_counted(pool: Pool) -> None:
    with pool() as running:
        events = collected(said(running.open(voice=OFF)))
        families = running.metrics()
        n = counted(families)
    n_words = len(SPEECH.words)
    assert text_of(events) == SPEECH.text
    assert n["audio_seconds_total"] == pytest.approx(len(SPEECH.samples) / SAMPLE_RATE)
    assert (n["sessions_opened_total"], n["sessions_open"], n["words_total"]) == (1, 0, n_words)
    assert n["word_delay_seconds_count"] == n_words
    assert n["queue_delay_seconds_count"] == n["inference_seconds_count"] >= 1
    assert n["compute_seconds_total"] == pytest.approx(n["inference_seconds_sum"])
    assert n["decoder_step_seconds_count"] > n_words
    names = [family.name for family in families]
    assert len(names) == len(set(names))


def test_the_pool_says_what_can_be_asked_of_it(pool: Pool) -> None:
    with pool() as running:
        health = running.wait_ready(PATIENCE_S)
        assert (health.state, health.is_alive, health.is_ready) == (State.READY, True, True)
        assert (health.model, health.languages, health.tasks) == (
            MODEL.name,
            MODEL.info.languages,
            ("transcribe", "translate"),
        )
        running.stop()
        assert (running.health().state, running.health().is_alive) == (State.STOPPED, False)


def test_draining_hears_what_was_submitted_and_refuses_more(pool: Pool) -> None:
    with pool() as running:
        running.wait_ready(PATIENCE_S)
        handle = running.open(voice=OFF)
        handle.submit(SPEECH.samples)
        running.stop(PATIENCE_S)
        events = handle.log.cursor().read()
        assert text_of(events) == SPEECH.text
        assert events[-1] == Ended(len(SPEECH.samples) / SAMPLE_RATE)
        assert handle.submit(silence(1)) == SAMPLE_RATE
        with pytest.raises(Refusal, match="being stopped"):
            running.open()


@pytest.mark.parametrize("is_ready", [True, False])
def test_stopping_at_once_fails_what_is_open(pool: Pool, *, is_ready: bool) -> None:
    with pool() as running:
        if is_ready:
            running.wait_ready(PATIENCE_S)
        handle = running.open(voice=OFF)
        running.stop()
        running.stop()
        assert handle.log.last == Failed(Reason.STOPPED, "the server was stopped")
        assert not running.health().is_alive
