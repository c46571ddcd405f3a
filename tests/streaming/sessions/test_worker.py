"""The inference thread: turns, lateness, back-pressure, health and endings, over a model that never mishears.

Clocks are turned by hand, and loading waits until the audio is there, so that the order of turns is known.
"""

import asyncio
import gc
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model
from simul_whisper.decoders import Step
from simul_whisper.encoders import Features
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.fallback import BackendStatus
from simul_whisper.mel import Mel
from streaming.events import CutShort, Ended, Event, Failed, Reason
from streaming.server.log_reader import LogReader
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox
from streaming.sessions.pool import State
from streaming.sessions.request import SessionRequest
from streaming.sessions.scheduled import ScheduledSession
from streaming.sessions.session import Session
from streaming.sessions.worker import Worker
from streaming.settings import VoiceConfig, WorkerConfig
from tests.conftest import Recording
from tests.sounds import silence
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, counted, text_of
from tests.streaming.working import MODEL, SPEECH, HandClock, collected, ended, made, running, said
from tests.tones import ToneDecoder, ToneEncoder, speech_of, tone_model

# Turns


def test_eight_sessions_at_once_say_what_one_does(tiny: Model, captions: Recording) -> None:
    config = AlignAttConfig(model_name="tiny.en", padding_len=1.0, segment_length=2.0)
    samples = captions.samples[: 8 * SAMPLE_RATE]
    worker = Worker(lambda: tiny, config, clock=HandClock())
    handles = [said(worker.open(drafts=False), samples) for _ in range(8)]
    with running(worker):
        found = [collected(handle) for handle in handles]
    session = Session(config, tiny, drafts=False)
    assert found == [ended(session.feed(samples) + session.end())] * 8


def test_the_audio_that_waits_longest_is_next() -> None:
    clock, turns = HandClock(), list[str]()
    worker = made(clock=clock, late_s=100)
    first, second, third = (worker.open(voice=OFF) for _ in range(3))
    first.log.add_waker(lambda: turns.append("first"))
    second.log.add_waker(lambda: turns.append("second"))
    third.log.add_waker(lambda: turns.append("third"))
    for clock.now_s in (1, 2, 3, 4):
        second.submit(silence(1))
        clock.now_s += 0.5
        first.submit(silence(1))
    third.submit(silence(4))
    with running(worker):
        worker.stop(PATIENCE_S)
    assert turns[:7] == ["second", "first", "second", "first", "second", "first", "second"]


def test_late_audio_is_decoded_together_and_says_the_same() -> None:
    def n_inferences(lateness_s: float) -> float:
        clock = HandClock()
        worker = made(clock=clock, late_s=1.0)
        handle = said(worker.open(voice=OFF))
        clock.now_s = lateness_s
        with running(worker):
            assert text_of(collected(handle)) == SPEECH.text
            return counted(worker.metrics())["inference_seconds_count"]

    assert n_inferences(0.0) >= 10
    assert n_inferences(1.5) <= 3


class Costly(ToneDecoder):
    """Takes a while for each step, by a clock that is turned by hand."""

    def __init__(self, clock: HandClock, step_s: float) -> None:
        super().__init__(MODEL.tokenizer, "en")
        self._clock, self._step_s = clock, step_s

    def step(self, *args: Any, **options: Any) -> Step:
        self._clock.now_s += self._step_s
        return super().step(*args, **options)


def test_a_listener_need_not_wait_for_another_to_be_done() -> None:
    clock, told = HandClock(), list[str]()
    worker = made(tone_model(decoder=Costly(clock, 1.0)), clock)
    greedy, listener = worker.open(replace(CONFIG, segment_length=5.0), OFF), worker.open(voice=OFF)
    greedy.log.add_waker(lambda: told.append("greedy"))
    listener.log.add_waker(lambda: told.append("listener"))
    greedy.submit(SPEECH.samples[: 5 * SAMPLE_RATE])
    listener.submit(SPEECH.samples[: 2 * SAMPLE_RATE])
    greedy.end()
    listener.end()
    with running(worker):
        worker.stop(PATIENCE_S)
    assert told.index("listener") < told.index("greedy")
    n_words = len(text_of(listener.log.cursor().read()).split())
    assert n_words >= 2


@pytest.mark.parametrize("pass_s", [2.5, 100.0])
def test_a_pass_that_takes_too_long_is_cut_short_and_that_is_told(pass_s: float) -> None:
    clock = HandClock()
    worker = made(tone_model(decoder=Costly(clock, 1.0)), clock, pass_s=pass_s, late_s=0.0)
    handle = said(worker.open(voice=OFF))
    with running(worker):
        events = collected(handle)
    is_cut = any(isinstance(event, CutShort) for event in events)
    assert is_cut == (pass_s < 10)
    assert (text_of(events) == SPEECH.text) != is_cut
    assert isinstance(events[-1], Ended)


# Back-pressure


def test_what_is_planned_is_bounded_however_often_a_flush_is_asked_for() -> None:
    inbox = AudioInbox(30 * SAMPLE_RATE, HandClock())
    session = Session(CONFIG, MODEL, OFF)
    handle = ThreadHandle(inbox, lambda: None)
    scheduled = ScheduledSession(handle, inbox, lambda _: session, CONFIG, WorkerConfig(), HandClock())
    n_planned = []
    for piece in np.array_split(SPEECH.samples[:10_000], 500):
        inbox.submit(piece, drop_oldest=False)
        inbox.flush()
        scheduled.work(MODEL)
        n_planned.append(session.n_planned)
    assert 10 < max(n_planned) < 70


# Health


def test_ready_is_said_only_after_an_inference() -> None:
    may_load, seen = threading.Event(), list[State]()

    class Watching(ToneEncoder):
        def encode(self, mel: Mel) -> Features:
            seen.append(worker.health().state)
            assert worker.health().is_alive
            return super().encode(mel)

    def load() -> Model:
        may_load.wait(PATIENCE_S)
        return replace(MODEL, encoder=FallbackEncoder(BackendStatus("tones"), Watching))

    worker = Worker(load, CONFIG)
    assert (worker.health().is_alive, worker.health().is_ready) == (False, False)
    worker.start()
    handle = said(worker.open(voice=OFF))
    assert (worker.health().is_alive, worker.health().is_ready) == (True, False)
    may_load.set()
    assert worker.wait_ready(PATIENCE_S).is_ready
    assert seen[0] is State.LOADING
    assert text_of(collected(handle)) == SPEECH.text
    worker.stop()
    assert (worker.health().state, worker.health().is_alive) == (State.STOPPED, False)
    assert not worker.health().is_ready


def test_what_was_done_is_counted() -> None:
    with running(made()) as worker:
        events = collected(said(worker.open(voice=OFF)))
        n = counted(worker.metrics())
    n_words = len(SPEECH.words)
    assert text_of(events) == SPEECH.text
    assert n["audio_seconds_total"] == pytest.approx(len(SPEECH.samples) / SAMPLE_RATE)
    assert (n["sessions_opened_total"], n["sessions_open"], n["words_total"]) == (1, 0, n_words)
    assert n["word_delay_seconds_count"] == n_words
    assert n["queue_delay_seconds_count"] == n["inference_seconds_count"] >= 10
    assert n["compute_seconds_total"] == pytest.approx(n["inference_seconds_sum"])
    assert n["decoder_step_seconds_count"] > n_words


def test_what_goes_in_and_out_of_a_pool_crosses_a_process() -> None:
    with running(made()) as worker:
        events = collected(said(worker.open(CONFIG, OFF)))
        things = (CONFIG, OFF, SessionRequest(targets=("de",)), events, worker.health())
        assert pickle.loads(pickle.dumps(things)) == things
        assert counted(pickle.loads(pickle.dumps(worker.metrics()))) == counted(worker.metrics())


# Endings


@pytest.mark.parametrize("is_started", [True, False])
def test_stopping_at_once_fails_what_is_open(is_started: bool) -> None:
    worker = made()
    handle = worker.open(voice=OFF)
    if is_started:
        worker.start()
        worker.wait_ready(PATIENCE_S)
    worker.stop()
    worker.stop()
    assert handle.log.last == Failed(Reason.STOPPED, "the server was stopped")
    assert not worker.health().is_alive


def test_many_short_sessions_leave_nothing_behind() -> None:
    descriptors = Path("/proc/self/fd")

    def open_things() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(list(descriptors.iterdir())) if descriptors.exists() else 0

    before = open_things()
    short = speech_of([1, 2])
    with running(made()) as worker:
        for n in range(200):
            handle = worker.open(replace(CONFIG, padding_len=0.0), OFF if n % 4 else VoiceConfig())
            handle.submit(short.samples)
            if n % 10 == 9:
                handle.clear()
                handle.end()
                continue
            handle.end()
            assert text_of(collected(handle)) == (short.text if n % 4 else "")
        sessions = [each for each in gc.get_objects() if isinstance(each, Session)]
        assert len(sessions) <= 2
    assert open_things() == before


def test_an_event_loop_is_woken() -> None:
    async def listen(worker: Worker) -> list[Event]:
        events, handle = list[Event](), said(worker.open(voice=OFF))
        reader = LogReader(handle.log)
        while not reader.cursor.is_done:
            await asyncio.wait_for(reader.news.wait(), PATIENCE_S)
            reader.news.clear()
            events += reader.cursor.read()
        reader.close()
        return events

    with running(made()) as worker:
        assert text_of(asyncio.run(listen(worker))) == SPEECH.text


def test_a_program_may_exit_as_soon_as_the_worker_has_stopped() -> None:
    program = """
import numpy as np
from simul_whisper import AlignAttConfig, load_model
from streaming.sessions.worker import Worker
config = AlignAttConfig(model_name="tiny.en", padding_len=1.0)
worker = Worker(lambda: load_model(config), config)
worker.start()
print(worker.wait_ready(100).state.value)
worker.stop()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ready\n", "")
