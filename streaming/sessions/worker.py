"""One thread that owns the model and takes turns among the sessions.

MLX binds its streams to a thread, so the model is loaded, warmed up and used in this one alone. Work is done in pieces,
a run of the encoder or a step of the decoder, and after each a fair queue says whose turn it is. Whoever is due then,
too, and has come as far, has its piece done together with that, where it pays. Whoever falls behind has its late audio
decoded in one go.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from prometheus_client import Metric

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    Answer,
    Ask,
    AudioFormatError,
    BackendError,
    ConfigError,
    Model,
    PaddedAlignAttWhisper,
    SimulWhisperError,
    release_thread,
)
from streaming.events import Event, Failed, Reason
from streaming.sessions.calibration import cost_of_speech
from streaming.sessions.doorkeeper import Doorkeeper, House
from streaming.sessions.event_log import EventLog
from streaming.sessions.fair_queue import FairQueue
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox
from streaming.sessions.metrics import SessionMetrics
from streaming.sessions.pool import Health, State
from streaming.sessions.request import Refusal
from streaming.sessions.scheduled import ScheduledSession, Taken, Told
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig, WorkerConfig
from streaming.tracing import working_for

logger = logging.getLogger(__name__)

# Voice activity keeps all of Python waiting while it hears. With hours of audio at hand, sockets need turns in between.
_BREATH_S = 0.002
_REASONS = {
    AudioFormatError: Reason.AUDIO_FORMAT,
    ConfigError: Reason.CONFIG,
    SimulWhisperError: Reason.ENGINE,
}


class Worker:
    """An `InferencePool` of one thread.

    load: returns the model; it is called in the inference thread. config: of warm-up, and of sessions without one.
    lets_all_in: also those for whom its `health` has no place; then whoever opens sessions goes by that.

    clock: monotonic seconds; it orders turns, measures delays, and cuts passes short that take too long.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        config: AlignAttConfig,
        options: WorkerConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        lets_all_in: bool = False,
    ) -> None:
        self._load, self._config, self._clock, self._lets_all_in = load, config.validated(), clock, lets_all_in
        self._options = options or WorkerConfig()
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._changed = threading.Condition(self._lock)
        self._sessions: list[ScheduledSession] = []
        self._queue = FairQueue[ScheduledSession]()
        self._metrics = SessionMetrics()
        self._door = Doorkeeper(self._options, self._metrics, clock)
        self._state, self._message = State.LOADING, ""
        self._model, self._languages, self._tasks = "", tuple[str, ...](), tuple[str, ...]()
        self._busy_since: float | None = None
        self._is_draining = self._is_aborted = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    # For any thread

    def start(self) -> None:
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> Health:
        """Wait until the worker is ready or has failed, at most so long, and return its health."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is not State.LOADING, timeout_s)
        return self.health()

    def open(
        self, config: AlignAttConfig | None = None, voice: VoiceConfig | None = None, *, drafts: bool = True
    ) -> ThreadHandle:
        """As `InferencePool.open`."""
        config = (config or self._config).validated()
        inbox = AudioInbox(round(self._options.buffer_s * SAMPLE_RATE), self._clock)
        handle = ThreadHandle(inbox, self._woken.set)
        make = partial(_session, config=config, voice=voice, drafts=drafts)
        with self._lock:
            refusal = self._refusal()
            if not refusal:
                self._sessions.append(ScheduledSession(handle, inbox, make, config, self._options, self._clock))
                self._door.note_sessions(House.of(self._sessions))
        if refusal:
            raise refusal
        self._metrics.sessions_opened.inc()
        self._woken.set()
        return handle

    def _refusal(self) -> Refusal | None:
        if self._state in (State.FAILED, State.STOPPED) or self._is_draining or self._is_aborted:
            self._metrics.sessions_refused.labels(Reason.STOPPING.value).inc()
            return Refusal(Reason.STOPPING, self._message or "no session can be opened any more: this is being stopped")
        return None if self._lets_all_in else self._door.refusal(House.of(self._sessions))

    def health(self) -> Health:
        with self._lock:
            alive, busy_since = self._thread.is_alive(), self._busy_since
            busy_s = 0.0 if busy_since is None else self._clock() - busy_since
            is_ready = alive and self._state is State.READY
            abilities = self._model, self._languages, self._tasks
            n_places, wait_s = self._door.places(House.of(self._sessions))
            return Health(self._state, alive, is_ready, busy_s, self._message, *abilities, (), n_places, wait_s)

    def metrics(self) -> tuple[Metric, ...]:
        sessions = [each for each in self._open_sessions() if not each.is_over]
        self._metrics.sessions_open.set(len(sessions))
        self._metrics.waiting_audio_s.set(sum(each.waiting_samples for each in sessions) / SAMPLE_RATE)
        self._door.write_metrics()
        return self._metrics.read()

    def stop(self, drain_s: float = 0.0) -> None:
        """Stop; with `drain_s`, first decode what was submitted, for at most so long. Sessions that are not done fail.

        Returns when the thread has ended, which a running inference delays.
        """
        with self._lock:
            self._is_draining, self._is_aborted = True, self._is_aborted or drain_s <= 0
        if self._thread.ident is None:
            self._give_up_sessions()
            return
        if drain_s > 0:
            for scheduled in self._open_sessions():
                scheduled.drain()
            self._woken.set()
            self._thread.join(drain_s)
        self._is_aborted = True
        self._woken.set()
        self._thread.join()

    # The inference thread

    def _run(self) -> None:
        try:
            model = self._load()
            self._warm_up(model)
            if self._options.admit:
                self._door.begin(cost_of_speech(model, self._config))
            self._note_abilities(model)
            self._enter(State.READY)
            while not self._is_done():
                self._woken.wait()
                self._woken.clear()
                while not self._is_aborted and self._turn(model):
                    pass
            self._enter(State.STOPPED)
        except BaseException as error:
            is_known = isinstance(error, SimulWhisperError)
            self._enter(State.FAILED, str(error) if is_known else f"{type(error).__name__}: {error}")
            if not is_known:
                logger.exception("inference has ended")
        finally:
            release_thread()
        self._give_up_sessions()

    def _give_up_sessions(self) -> None:
        with self._lock:
            sessions, self._sessions = self._sessions, []
            # Who comes again finds no model either.
            reason = Reason.ENGINE if self._state is State.FAILED and not self._model else Reason.STOPPED
        for scheduled in sessions:
            scheduled.handle.tell([Failed(reason, self._message or "the server was stopped")])

    def _warm_up(self, model: Model) -> None:
        """Decode a second of faint noise, so that the first listener does not wait for what only a first time costs."""
        whisper = PaddedAlignAttWhisper(self._config, model)
        noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE) * 1e-3
        whisper.insert_audio(noise.astype(np.float32))
        if not whisper.infer(is_last=True).timing.windows:
            raise BackendError("the model decoded nothing when it was warmed up")

    def _note_abilities(self, model: Model) -> None:
        languages = model.info.languages
        with self._lock:
            self._model, self._languages = model.name, languages
            self._tasks = ("transcribe", "translate") if len(languages) > 1 else ("transcribe",)

    def _enter(self, state: State, message: str = "") -> None:
        with self._changed:
            self._state, self._message = state, message
            self._changed.notify_all()

    def _is_done(self) -> bool:
        return self._is_aborted or (self._is_draining and not self._open_sessions())

    def _open_sessions(self) -> list[ScheduledSession]:
        with self._lock:
            return list(self._sessions)

    def _turn(self, model: Model) -> bool:
        """Let the session whose turn it is do a piece of its work; False when there was nothing to do."""
        following = self._queue.next([scheduled for scheduled in self._open_sessions() if scheduled.has_work])
        if following:
            self._take_turn(following, model)
        self._forget_over()
        return following is not None

    def _take_turn(self, first: ScheduledSession, model: Model) -> None:
        with self._lock:
            self._busy_since = self._clock()
        try:
            ask = self._advance(first, partial(first.work, model))
            if ask:
                self._answer({first: ask} | self._joining(first, ask, model), model)
        finally:
            with self._lock:
                self._busy_since = None

    def _joining(self, first: ScheduledSession, ask: Ask, model: Model) -> dict[ScheduledSession, Ask]:
        """Return who is answered together with the first, where that pays, and what each of them asks for.

        Nobody waits for one that is not due: it would be their turn next.
        """
        found, most = dict[ScheduledSession, Ask](), model.most_together - 1
        for other in self._queue.beside(first) if most else ():
            if len(found) < most and other.may_join(ask):
                asked = self._advance(other, partial(other.work, model))
                found |= {other: asked} if type(asked) is type(ask) else {}
        return found

    def _answer(self, asks: Mapping[ScheduledSession, Ask], model: Model) -> None:
        """Answer what these ask for. Each is charged what was spent on it."""
        started = self._clock()
        answers = model.answer_all(list(asks.values()))
        took_s = self._clock() - started
        spent_s = sum(each.spent_s for each in answers if isinstance(each, Answer)) or math.inf
        for scheduled, answer in zip(asks, answers, strict=True):
            if isinstance(answer, Exception):
                self._fail(scheduled, answer)
                continue
            share_s = took_s if len(asks) == 1 else took_s * answer.spent_s / spent_s
            self._queue.charge(scheduled, share_s)
            self._advance(scheduled, partial(scheduled.resume, answer, share_s))

    def _advance(self, scheduled: ScheduledSession, work: Callable[[], Taken | Told | Ask | None]) -> Ask | None:
        """Do some of a session's work; whatever it raises ends that session, and no other. Return what it asks for."""
        started = self._clock()
        try:
            with working_for(scheduled.handle.log.trace):
                done = work()
        except Exception as error:
            self._fail(scheduled, error)
            return None
        finally:
            self._queue.charge(scheduled, self._clock() - started)
        if isinstance(done, Taken | Told):
            self._door.note(done)
        if isinstance(done, Taken):
            if done.is_backlog:
                time.sleep(_BREATH_S)
            self._metrics.audio_s.inc(done.n_samples / SAMPLE_RATE)
            self._metrics.dropped_s.inc(done.n_lost / SAMPLE_RATE)
        elif isinstance(done, Told):
            self._count(done, scheduled.handle.log)
            scheduled.handle.tell(done.turn.events)
        elif done:
            return done
        return None

    def _fail(self, scheduled: ScheduledSession, error: Exception) -> None:
        if not isinstance(error, SimulWhisperError):
            logger.error("a session has failed", exc_info=error)
        scheduled.handle.tell([_failure(error)])

    def _count(self, told: Told, log: EventLog) -> None:
        timing = told.turn.timing
        if not timing.windows:
            return
        log.compute_s += timing.total_s
        n_words = len(told.word_delays_s)
        log.trace.add("pass", told.took_s, compute_s=timing.total_s, waited_s=told.waited_s, words=n_words)
        self._metrics.compute_s.inc(timing.total_s)
        self._metrics.words.inc(len(told.word_delays_s))
        self._metrics.queue_delay_s.observe(told.waited_s)
        self._metrics.inference_s.observe(timing.total_s)
        for step_s in timing.step_s:
            self._metrics.step_s.observe(step_s)
        for delay_s in told.word_delays_s:
            self._metrics.word_delay_s.observe(delay_s)

    def _forget_over(self) -> None:
        over = [scheduled for scheduled in self._open_sessions() if scheduled.is_over]
        if not over:
            return
        self._metrics.sessions_failed.inc(sum(scheduled.has_failed for scheduled in over))
        with self._lock:
            self._sessions = [scheduled for scheduled in self._sessions if scheduled not in over]
            self._door.note_sessions(House.of(self._sessions), len(over))


def _session(model: Model, *, config: AlignAttConfig, voice: VoiceConfig | None, drafts: bool) -> Session:
    return Session(config, model, voice, drafts=drafts)


def _failure(error: Exception) -> Event:
    reason = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), Reason.INTERNAL)
    return Failed(reason, str(error) if reason is not Reason.INTERNAL else f"{type(error).__name__}: {error}")
