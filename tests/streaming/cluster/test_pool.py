"""Sessions over replicas that are killed, drained, full, or none: nothing is lost or told twice."""

import threading

import numpy as np
import pytest

from streaming.cluster.line import Answer, LineLostError
from streaming.cluster.pool import ReplicaPool
from streaming.events import Draft, Event, Failed, Reason, Recognised, Words
from streaming.sessions.pool import Health, SessionHandle, State
from streaming.sessions.request import Refusal
from streaming.sessions.worker import Worker
from streaming.settings import WorkerConfig
from tests.sounds import silence
from tests.streaming.cluster.local import LocalReplicas, of_each, replica_pool, wait_for
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, counted, text_of
from tests.streaming.working import MODEL, SPEECH, collected, made, running, said


def n_words(handle: SessionHandle) -> int:
    return len(text_of(handle.log.cursor().read()).split())


def host(pool: ReplicaPool, n_sessions: int = 1) -> str:
    """The replica that has so many sessions."""
    return next(name for name, n in sessions_at(pool).items() if n == n_sessions)


def sessions_at(pool: ReplicaPool) -> dict[str, float]:
    return of_each(pool, "sessions")


def essence(events: list[Event]) -> list[object]:
    """What is committed, word for word."""
    told = list[object]()
    for event in events:
        if isinstance(event, Words):
            told += [(word.text, event.utterance) for word in event.words]
        elif not isinstance(event, Draft):
            told.append(event)
    return told


def test_sessions_of_a_killed_replica_go_on_with_another_and_tell_each_word_once() -> None:
    with running(made()) as worker:
        expected = essence(collected(said(worker.open(voice=OFF))))
    half = len(SPEECH.samples) // 2
    with replica_pool() as (pool, replicas):
        handles = [pool.open(voice=OFF) for _ in range(4)]
        for handle in handles:
            assert handle.submit(SPEECH.samples[:half]) == half
        wait_for(lambda: all(n_words(handle) >= 4 for handle in handles))
        assert sorted(sessions_at(pool).values()) == [2, 2]
        before = [handle.log.cursor().read() for handle in handles]
        replicas.kill(host(pool, 2))
        for handle in handles:
            said(handle, SPEECH.samples[half:])
        found = [collected(handle) for handle in handles]
        n = counted(pool.metrics())
    assert [essence(events) for events in found] == [expected] * 4
    assert all(
        essence(events)[: len(essence(told))] == essence(told) for events, told in zip(found, before, strict=True)
    )
    assert (n["replicas_lost_total"], n["sessions_moved_total"]) == (1, 2)
    assert 0 < n["replayed_audio_seconds_total"] <= 2 * half / 16_000
    assert n["sessions_opened_total"] == 4


def test_replicas_may_die_one_after_the_other() -> None:
    with replica_pool(1) as (pool, replicas):
        handle = pool.open(voice=OFF)
        for piece in np.array_split(SPEECH.samples, 4):
            n_before = n_words(handle)
            assert handle.submit(piece) == len(piece)
            wait_for(lambda n=n_before: n_words(handle) > n)  # type: ignore[misc]
            replicas.kill(host(pool))
            replicas.add()
        handle.end()
        assert text_of(collected(handle)) == SPEECH.text
        assert counted(pool.metrics())["replicas_lost_total"] == 4


def test_the_least_loaded_replica_has_the_next_session() -> None:
    with replica_pool(3) as (pool, _):
        handles = [pool.open(voice=OFF) for _ in range(6)]
        assert sorted(sessions_at(pool).values()) == [2, 2, 2]
        assert [text_of(collected(said(handle))) for handle in handles] == [SPEECH.text] * 6
        wait_for(lambda: sorted(sessions_at(pool).values()) == [0, 0, 0])


def test_a_replica_that_drains_keeps_its_sessions_and_gets_no_more() -> None:
    with replica_pool() as (pool, replicas):
        old = pool.open(voice=OFF)
        draining = host(pool)
        wait_for(lambda: replicas.replicas[draining].n_sessions == 1)
        replicas.replicas[draining].drain()
        wait_for(lambda: sum(of_each(pool, "ready").values()) == 1)
        new = [pool.open(voice=OFF) for _ in range(3)]
        assert sessions_at(pool)[draining] == 1
        assert [text_of(collected(said(handle))) for handle in [old, *new]] == [SPEECH.text] * 4
        wait_for(lambda: replicas.replicas[draining].n_sessions == 0)
        # It has said that it would go.
        replicas.kill(draining)
        wait_for(lambda: draining not in sessions_at(pool))
        n = counted(pool.metrics())
    assert (n["sessions_moved_total"], n["replicas_lost_total"], n["words_total"]) == (0, 0, 4 * len(SPEECH.words))


def test_as_many_are_let_in_as_the_replicas_have_places_for() -> None:
    def made_of_one() -> Worker:
        return Worker(lambda: MODEL, CONFIG, WorkerConfig(max_sessions=1))

    with replica_pool(1, made_of_one) as (pool, replicas):
        first = pool.open(voice=OFF)
        with pytest.raises(Refusal, match="a session is open, and one more could not be served in time") as refused:
            pool.open(voice=OFF)
        assert refused.value.reason is Reason.TOO_MANY_SESSIONS
        replicas.add()
        wait_for(lambda: pool.health().n_places == 1)
        for handle in (pool.open(voice=OFF), first):
            assert text_of(collected(said(handle))) == SPEECH.text


def test_without_a_replica_a_session_waits_and_then_fails_with_a_reason() -> None:
    with replica_pool(1, patience_s=0.2) as (pool, replicas):
        handle = pool.open(voice=OFF)
        replicas.kill(host(pool))
        (failed,) = collected(handle)
        assert isinstance(failed, Failed)
        assert failed.reason is Reason.OVERLOADED
        assert "no replica could be had for 0.2 s" in failed.message
        health = pool.health()
        assert (health.state, health.is_ready, health.model) == (State.LOADING, False, MODEL.name)
        replicas.add()
        wait_for(lambda: pool.health().is_ready)
        assert text_of(collected(said(pool.open(voice=OFF)))) == SPEECH.text


def test_audio_that_comes_before_a_replica_does_is_heard() -> None:
    with replica_pool(0) as (pool, replicas):
        handle = said(pool.open(voice=OFF))
        replicas.add()
        assert text_of(collected(handle)) == SPEECH.text


def test_what_was_asked_for_is_not_lost_with_a_replica() -> None:
    with replica_pool(1) as (pool, replicas):
        handle = pool.open(CONFIG, OFF)
        handle.choose_targets(["en"])
        handle.submit(SPEECH.samples[: SPEECH.starts[7]])
        handle.flush()
        handle.submit(SPEECH.samples[SPEECH.starts[7] :])
        handle.end()
        replicas.kill(host(pool))
        replicas.add()
        kinds = [type(event).__name__ for event in collected(handle)]
    assert kinds.count("Flushed") == kinds.count("Recognised") == kinds.count("Ended") == 1
    assert "Translation" in kinds


def test_a_server_that_is_gone_leaves_no_sessions_behind() -> None:
    with replica_pool(1) as (pool, replicas):
        for _ in range(3):
            pool.open(voice=OFF).submit(silence(1))
        (replica,) = replicas.replicas.values()
        wait_for(lambda: replica.n_sessions == 3)
        (line,) = replicas.lines().values()
        line.close()
        wait_for(lambda: replica.n_sessions == 0)
        wait_for(lambda: counted(replica.pool.metrics())["sessions_open"] == 0)


def test_many_sessions_leave_nothing_behind() -> None:
    with replica_pool() as (pool, replicas):
        for n in range(20):
            handle = pool.open(voice=OFF)
            handle.submit(SPEECH.samples[:8_000])
            if n % 2:
                handle.clear()
            handle.end()
            assert isinstance(collected(handle)[-2], Recognised)
        wait_for(lambda: not any(each.n_sessions for each in replicas.replicas.values()))
        assert counted(pool.metrics())["sessions_open"] == 0


class Hung:
    """A replica whose inference does not come back."""

    name = "hung"

    def __init__(self) -> None:
        self.is_closed = threading.Event()

    def exchange(self, _: object) -> Answer:
        if self.is_closed.is_set():
            raise LineLostError("closed")
        return Answer((), Health(State.READY, is_alive=True, is_ready=True, busy_s=1_000.0, message=""))

    def close(self) -> None:
        self.is_closed.set()


def test_a_replica_that_hangs_is_left() -> None:
    class WithHung(LocalReplicas):
        def lines(self) -> dict[str, object]:  # type: ignore[override]
            return {"hung": hung, **super().lines()}

    hung = Hung()
    pool = ReplicaPool(WithHung(1, made), CONFIG)  # type: ignore[arg-type]
    with running(pool):  # type: ignore[arg-type]
        assert hung.is_closed.wait(PATIENCE_S)
        assert text_of(collected(said(pool.open(voice=OFF)))) == SPEECH.text
        assert counted(pool.metrics())["replicas_lost_total"] == 1


def test_replicas_are_looked_after_again_when_they_could_not_be() -> None:
    class Failing(LocalReplicas):
        n_failures = 3

        def lines(self) -> dict[str, object]:  # type: ignore[override]
            if self.n_failures:
                self.n_failures -= 1
                raise OSError("too many open files")
            return {**super().lines()}

    replicas = Failing(1, made)
    with running(ReplicaPool(replicas, CONFIG)) as pool:  # type: ignore[arg-type]
        assert text_of(collected(said(pool.open(voice=OFF)))) == SPEECH.text
    assert replicas.n_failures == 0


def test_what_a_listener_costs_is_the_mean_of_the_replicas() -> None:
    def costly() -> Worker:
        worker = made()
        worker._metrics.listener_cost.set(0.25)
        worker._door.write_metrics = lambda: None  # type: ignore[method-assign]
        return worker

    with replica_pool(2, costly) as (pool, _):
        wait_for(lambda: counted(pool.metrics())["listener_cost"] > 0)
        assert counted(pool.metrics())["listener_cost"] == 0.25
