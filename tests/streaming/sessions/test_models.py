"""Several models in one pool: which is loaded when, and which has to go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from simul_whisper import BackendError, Model, ModelFiles
from streaming.events import Ended, Event, Failed, Reason, Words
from streaming.sessions.event_log import Cursor
from streaming.sessions.models import ModelsPool
from streaming.sessions.pool import Health, SessionHandle, State
from streaming.sessions.request import Refusal
from tests.streaming.models import ENGLISH, MEGABYTE, MULTILINGUAL, HandMemory, Loader, made_pool
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, counted, text_of
from tests.streaming.working import HandClock, collected, said
from tests.tones import english, mirror_model, random_words, speech_of, tone_model

SPEECH = speech_of(random_words(2))
MODELS = {"tones": tone_model(), "mirror": mirror_model(), "third": tone_model()}


class Tended:
    """A pool that nobody tends but the test."""

    def __init__(self, pool: ModelsPool, loader: Loader, clock: HandClock, memory: HandMemory) -> None:
        self.pool, self.loader, self.clock, self.memory = pool, loader, clock, memory
        self._cursors = dict[SessionHandle, Cursor]()

    def open(self, name: str = "") -> SessionHandle:
        handle = self.pool.open(replace(CONFIG, model_name=name) if name else None, OFF, drafts=False)
        self._cursors[handle] = handle.log.cursor()
        return handle

    def collected(self, handle: SessionHandle) -> list[Event]:
        return collected(handle, self._cursors.pop(handle))

    def loaded(self) -> None:
        """Tend the pool until all that was asked for is loaded."""
        while True:
            self.pool.tend()
            loading = [each for each in self.pool._kept.values() if each.is_loading]
            if not loading:
                return
            for each in loading:
                if each.is_started and each.pool:
                    each.pool.wait_ready(PATIENCE_S)

    def heard(self, name: str = "") -> str:
        """Speak to a model, and return its words."""
        handle = said(self.open(name), SPEECH.samples)
        self.loaded()
        return "".join(event.text for event in self.collected(handle) if isinstance(event, Words))

    def states(self) -> dict[str, State]:
        return {each.model: each.state for each in self.pool.health().all}

    def pass_time(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.pool.tend()


@contextmanager
def tended(
    models: dict[str, Model | Exception] | None = None,
    files: dict[str, ModelFiles] | None = None,
    memory: HandMemory | None = None,
    most_sessions: int = 16,
    **options: Any,
) -> Iterator[Tended]:
    loader, clock, memory = Loader(models or dict(MODELS), files or {}), HandClock(), memory or HandMemory()
    pool = made_pool(loader, memory, clock, most_sessions, **options)
    made = Tended(pool, loader, clock, memory)
    try:
        made.loaded()
        yield made
    finally:
        pool.stop()


def test_each_session_has_the_words_of_its_model() -> None:
    with tended() as pool:
        assert pool.heard() == pool.heard("tones") == SPEECH.text
        assert pool.heard("mirror") == english(SPEECH).text


def test_a_model_is_loaded_when_somebody_asks_for_it() -> None:
    with tended() as pool:
        assert pool.states() == {"tones": State.READY, "mirror": State.UNLOADED, "third": State.UNLOADED}
        handle = said(pool.open("mirror"), SPEECH.samples)
        assert pool.states()["mirror"] is State.LOADING
        pool.loaded()
        pool.collected(handle)
        assert pool.states() == {"tones": State.READY, "mirror": State.READY, "third": State.UNLOADED}
        pool.heard("mirror")
        assert pool.loader.loaded == ["tones", "mirror"]


def test_one_is_loaded_at_a_time() -> None:
    with tended() as pool:
        handles = [said(pool.open(name), SPEECH.samples) for name in ("mirror", "third")]
        pool.pool.tend()
        assert [each.is_started for each in pool.pool._kept.values()] == [True, True, False]
        pool.loaded()
        for handle in handles:
            pool.collected(handle)
        assert pool.loader.loaded == ["tones", "mirror", "third"]


def test_one_that_nobody_uses_is_unloaded_after_a_while_and_the_first_is_not() -> None:
    with tended(model_idle=60.0) as pool:
        pool.heard("mirror")
        speaking = pool.open("third")
        pool.loaded()
        pool.pass_time(59.0)
        assert pool.states()["mirror"] is State.READY
        pool.pass_time(1.0)
        assert pool.states() == {"tones": State.READY, "mirror": State.UNLOADED, "third": State.READY}
        assert pool.memory.n_given_back == 1
        pool.pass_time(1_000.0)
        assert pool.states()["third"] is State.READY
        pool.collected(said(speaking, SPEECH.samples))
        pool.pass_time(0.0)
        pool.pass_time(60.0)
        assert pool.states() == {"tones": State.READY, "mirror": State.UNLOADED, "third": State.UNLOADED}
        # It can be had again.
        assert pool.heard("mirror") == english(SPEECH).text


def test_the_least_recently_used_makes_room() -> None:
    # Twice its files each: two of them and the first have room.
    with tended({**MODELS, "fourth": tone_model()}, model_memory=600) as pool:
        for name in ("third", "mirror", "third"):
            pool.heard(name)
            pool.pass_time(1.0)
        pool.heard("fourth")
        unloaded = State.UNLOADED
        assert pool.states() == {"tones": State.READY, "mirror": unloaded, "third": State.READY, "fourth": State.READY}


def test_one_that_is_used_makes_no_room() -> None:
    with tended(model_memory=400) as pool:
        speaking = pool.open("mirror")
        pool.loaded()
        with pytest.raises(
            Refusal, match=r"^there is no memory for the model third beside tones, mirror; try again later$"
        ) as refused:
            pool.open("third")
        assert refused.value.reason is Reason.OVERLOADED
        assert pool.states()["mirror"] is State.READY
        pool.collected(said(speaking, SPEECH.samples))
        assert pool.heard("third") == SPEECH.text
        assert pool.states()["mirror"] is State.UNLOADED


def test_one_that_never_has_room_is_refused_for_good_and_nobody_goes_for_it() -> None:
    files = {"third": replace(MULTILINGUAL, size_bytes=300 * MEGABYTE)}
    with tended(files=files, model_memory=400) as pool:
        pool.heard("mirror")
        with pytest.raises(Refusal, match="needs more memory than this server has") as refused:
            pool.open("third")
        assert refused.value.reason is Reason.CONFIG
        assert pool.states()["mirror"] is State.READY


def test_without_a_bound_it_is_what_the_machine_has_left() -> None:
    with tended(memory=HandMemory(left_bytes=200 * MEGABYTE)) as pool:
        speaking = pool.open("mirror")
        # As long as it is being loaded, the machine does not know of it.
        with pytest.raises(Refusal, match="no memory"):
            pool.open("third")
        pool.loaded()
        pool.memory.left_bytes = 0
        with pytest.raises(Refusal, match="no memory"):
            pool.open("third")
        pool.collected(said(speaking, SPEECH.samples))
        pool.open("third")
        assert pool.states() == {"tones": State.READY, "mirror": State.UNLOADED, "third": State.LOADING}


def test_what_a_model_takes_is_measured_once_it_is_loaded() -> None:
    memory = HandMemory(taken_bytes=1_000 * MEGABYTE)
    with tended(memory=memory, model_memory=500) as pool:
        pool.open("mirror")
        pool.pool.tend()
        memory.taken_bytes = 1_350 * MEGABYTE
        pool.loaded()
        memory_of = {
            sample.labels["model"]: sample.value
            for family in pool.pool.metrics()
            for sample in family.samples
            if sample.name == "simul_whisper_model_memory_bytes"
        }
        assert memory_of == {"tones": 0, "mirror": 350 * MEGABYTE, "third": 0}
        with pytest.raises(Refusal, match="no memory"):
            pool.open("third")


def test_what_is_beyond_the_memory_once_it_is_measured_goes_when_nobody_uses_it() -> None:
    memory = HandMemory(taken_bytes=0)
    with tended(memory=memory, model_memory=500) as pool:
        speaking = pool.open("mirror")
        pool.pool.tend()
        memory.taken_bytes = 600 * MEGABYTE
        pool.loaded()
        assert pool.states()["mirror"] is State.READY
        pool.collected(said(speaking, SPEECH.samples))
        pool.pool.tend()
        assert pool.states()["mirror"] is State.UNLOADED


def test_one_that_cannot_be_loaded_fails_those_who_ask_for_it_and_is_tried_again() -> None:
    models: dict[str, Model | Exception] = {**MODELS, "broken": BackendError("it is broken")}
    with tended(models) as pool:
        handle = said(pool.open("broken"), SPEECH.samples)
        pool.loaded()
        assert pool.collected(handle) == [Failed(Reason.ENGINE, "it is broken")]
        with pytest.raises(Refusal, match=r"^the model broken cannot be used at present; ask for tones or ") as refused:
            pool.open("broken")
        assert refused.value.reason is Reason.ENGINE
        assert pool.states()["broken"] is State.FAILED
        assert pool.pool.health().is_ready
        assert pool.heard() == SPEECH.text
        pool.loader.models = {**models, "broken": mirror_model()}
        pool.pass_time(30.0)
        assert pool.heard("broken") == english(SPEECH).text
        assert pool.states()["broken"] is State.READY


def test_the_first_that_cannot_be_loaded_is_the_pools_failure() -> None:
    with tended({"broken": BackendError("it is broken"), "mirror": mirror_model()}) as pool:
        health = pool.pool.wait_ready(PATIENCE_S)
        assert (health.state, health.is_ready, health.message) == (State.FAILED, False, "it is broken")


def test_what_a_model_can_do_is_known_before_it_is_loaded() -> None:
    with tended(files={"third": ENGLISH}) as pool:
        health = pool.pool.health()
        third = health.of("third")
        assert (third.languages, third.tasks) == (("en",), ("transcribe",))
        assert "de" in health.of("mirror").languages
        assert health.of("tones").others == ()
        assert set(health.together.tasks) == {"transcribe", "translate"}


def test_there_is_a_place_where_one_of_the_models_has_one() -> None:
    def places(*n_places: int | None, state: State = State.READY) -> int | None:
        first, *others = (Health(state, True, True, 0.0, "", n_places=n) for n in n_places)
        return replace(first, state=State.READY, others=tuple(others)).together.n_places

    assert [places(0), places(0, 3), places(0, None), places(2, 0)] == [0, 3, None, 2]
    assert places(0, None, state=State.FAILED) == 0


def test_sessions_are_counted_over_all_models() -> None:
    with tended(most_sessions=2) as pool:
        pool.open("mirror")
        pool.open()
        with pytest.raises(Refusal, match=r"^2 sessions are open, and no more are allowed; try later$"):
            pool.open("third")


def test_without_a_limit_any_number_of_sessions_may_be_open() -> None:
    with tended(most_sessions=0) as pool:
        assert len([pool.open(name) for name in ("tones", "mirror") * 10]) == 20


def test_sessions_of_one_model_are_heard_to_their_ends_while_those_of_another_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tended() as pool:
        handle, first = pool.open("mirror"), pool.pool._first.pool
        pool.loaded()
        assert first
        handle.submit(SPEECH.samples)

        def once_the_other_has_ended(drain_s: float) -> None:
            deadline = time.monotonic() + drain_s
            while not handle.log.is_over and time.monotonic() < deadline:
                time.sleep(0.005)
            stop(drain_s)

        stop = first.stop
        monkeypatch.setattr(first, "stop", once_the_other_has_ended)
        pool.pool.stop(5.0)
        events = pool.collected(handle)
        assert text_of(events) == english(SPEECH).text
        assert isinstance(events[-1], Ended)


def test_what_was_counted_goes_on_when_a_model_is_loaded_again() -> None:
    with tended(model_idle=0.0) as pool:
        for _ in range(2):
            pool.heard("mirror")
            pool.pass_time(1.0)
            assert pool.states()["mirror"] is State.UNLOADED
        numbers = counted(pool.pool.metrics())
        assert (numbers["words_total"], numbers["sessions_opened_total"]) == (2 * len(SPEECH.words), 2)
        assert (numbers["model_loads_total"], numbers["model_loaded"], numbers["sessions_open"]) == (3, 1, 0)


def test_once_it_is_stopped_nobody_is_served() -> None:
    with tended() as pool:
        handles = [pool.open("mirror"), pool.open()]
        pool.pool.stop()
        assert [pool.collected(handle)[-1] for handle in handles] == [
            Failed(Reason.STOPPED, "the server was stopped")
        ] * 2
        with pytest.raises(Refusal, match="this is being stopped"):
            pool.open()
