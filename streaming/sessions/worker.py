"""One thread that owns the model and takes turns among the sessions.

MLX binds its streams to a thread, so the model is loaded, warmed up and used in this one alone. The next inference is
always for the audio that has been waiting longest; whoever falls behind has its late audio decoded in one go.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    AudioFormatError,
    BackendError,
    ConfigError,
    Model,
    PaddedAlignAttWhisper,
    SimulWhisperError,
    release_thread,
)
from streaming.events import Event, Failed, Words
from streaming.sessions.handle import SessionHandle
from streaming.sessions.metrics import Meter, Metrics
from streaming.sessions.session import Session, Turn
from streaming.settings import VoiceConfig, WorkerConfig

logger = logging.getLogger(__name__)

# So much is taken from one session before another has its turn.
_TAKEN_AT_ONCE = 2 * SAMPLE_RATE
_MOST_TAKES_WHEN_LATE = 4
_CODES = {AudioFormatError: "audio_format", ConfigError: "config", SimulWhisperError: "engine"}


class WorkerBusyError(SimulWhisperError):
    """No more sessions: as many as allowed are open, or the worker is stopping or broken."""


class State(Enum):
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Health:
    """is_alive: the thread runs. is_ready: it does, and a real inference has succeeded. busy_s: how long the present
    inference has been running, 0 when none does. message: what has failed, else empty.

    model, languages, tasks: its name, and what it can be asked for; empty before it is ready.
    """

    state: State
    is_alive: bool
    is_ready: bool
    busy_s: float
    message: str
    model: str = ""
    languages: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


class Worker:
    """load: returns the model; it is called in the inference thread. config: of warm-up, and of sessions without one.

    clock: monotonic seconds; it orders turns and measures delays, and decides nothing else.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        config: AlignAttConfig,
        options: WorkerConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._config, self._clock = load, config.validated(), clock
        self._options = options or WorkerConfig()
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._changed = threading.Condition(self._lock)
        self._sessions: list[ScheduledSession] = []
        self._meter = Meter()
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
        self,
        config: AlignAttConfig | None = None,
        voice: VoiceConfig | None = None,
        *,
        drafts: bool = True,
        notify: Callable[[], None] = lambda: None,
    ) -> SessionHandle:
        """Open a session and return the listener's end of it; audio may be submitted at once, ready or not.

        notify: called from the inference thread when there are events or room, as `loop.call_soon_threadsafe` may be.
        Raises ConfigError for impossible settings and WorkerBusyError. What only the model can refuse, such as a
        language it lacks, comes as a `Failed` event.
        """
        config = (config or self._config).validated()
        capacity = round(self._options.buffer_s * SAMPLE_RATE)
        with self._lock:
            n_open = sum(not scheduled.handle.is_over for scheduled in self._sessions)
            if self._state in (State.FAILED, State.STOPPED) or self._is_draining or self._is_aborted:
                self._meter.add(refused=1)
                raise WorkerBusyError(self._message or "the worker is stopping, expected to be asked before")
            if n_open >= self._options.max_sessions:
                self._meter.add(refused=1)
                raise WorkerBusyError(f"got {n_open} sessions open, expected less; try again when one has ended")
            handle = SessionHandle(capacity, self._clock, self._woken.set, notify)
            self._sessions.append(ScheduledSession(handle, config, voice or VoiceConfig(), drafts))
        self._meter.add(opened=1)
        self._woken.set()
        return handle

    def health(self) -> Health:
        with self._lock:
            alive, busy_since = self._thread.is_alive(), self._busy_since
            busy_s = 0.0 if busy_since is None else self._clock() - busy_since
            is_ready = alive and self._state is State.READY
            return Health(
                self._state, alive, is_ready, busy_s, self._message, self._model, self._languages, self._tasks
            )

    def metrics(self) -> Metrics:
        handles = [scheduled.handle for scheduled in self._open_sessions() if not scheduled.handle.is_over]
        waiting = sum(handle.waiting_samples for handle in handles)
        return self._meter.read(sessions_open=len(handles), waiting_audio_s=waiting / SAMPLE_RATE)

    def stop(self, drain_s: float = 0.0) -> None:
        """Stop; with `drain_s`, first decode what was submitted, for at most so long. Sessions that are not done fail.

        Returns when the thread has ended, which a running inference delays.
        """
        with self._lock:
            self._is_draining, self._is_aborted = True, self._is_aborted or drain_s <= 0
        if self._thread.ident is None:
            self._give_up_sessions()
            return
        for scheduled in self._open_sessions():
            scheduled.handle.drain()
        self._woken.set()
        if drain_s > 0:
            self._thread.join(drain_s)
        self._is_aborted = True
        self._woken.set()
        self._thread.join()

    # The inference thread

    def _run(self) -> None:
        try:
            model = self._load()
            self._warm_up(model)
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
        for scheduled in sessions:
            scheduled.handle.put([Failed("stopped", self._message or "the worker was stopped")])

    def _warm_up(self, model: Model) -> None:
        """Decode a second of faint noise, so that the first listener does not wait for what only a first time costs."""
        whisper = PaddedAlignAttWhisper(self._config, model)
        noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE) * 1e-3
        whisper.insert_audio(noise.astype(np.float32))
        if not whisper.infer(is_last=True).timing.windows:
            raise BackendError("got no inference when warming up, expected one")

    def _note_abilities(self, model: Model) -> None:
        is_multilingual = model.tokenizer.multilingual
        with self._lock:
            self._model = model.name
            self._languages = model.tokenizer.languages if is_multilingual else ("en",)
            self._tasks = ("transcribe", "translate") if is_multilingual else ("transcribe",)

    def _enter(self, state: State, message: str = "") -> None:
        with self._changed:
            self._state, self._message = state, message
            self._changed.notify_all()

    def _is_done(self) -> bool:
        return self._is_aborted or (self._is_draining and not self._open_sessions())

    def _open_sessions(self) -> "list[ScheduledSession]":
        with self._lock:
            return list(self._sessions)

    def _turn(self, model: Model) -> bool:
        """Take what has come, and run the inference that is most overdue; False when there was nothing to do."""
        sessions = self._open_sessions()
        has_taken = [self._guarded(scheduled, self._take, model) for scheduled in sessions]
        due = [scheduled for scheduled in sessions if scheduled.is_due]
        if due:
            self._guarded(min(due, key=lambda scheduled: scheduled.due_since), self._step, model)
        over = [scheduled for scheduled in sessions if scheduled.handle.is_over]
        self._meter.add(failed=sum(scheduled.handle.has_failed for scheduled in over))
        with self._lock:
            self._sessions = [scheduled for scheduled in self._sessions if scheduled not in over]
        return bool(due) or any(has_taken)

    def _take(self, scheduled: "ScheduledSession", model: Model) -> bool:
        taken = scheduled.take(model)
        if taken is None:
            return False
        self._meter.add(audio_s=taken.n_samples / SAMPLE_RATE, dropped_s=taken.n_lost / SAMPLE_RATE)
        return True

    def _step(self, scheduled: "ScheduledSession", model: Model) -> bool:
        started, due_since = self._clock(), scheduled.due_since
        is_late = math.isfinite(due_since) and started - due_since > self._options.late_s
        for _ in range(_MOST_TAKES_WHEN_LATE if is_late else 0):
            self._take(scheduled, model)
        with self._lock:
            self._busy_since = started
        try:
            turn = scheduled.step(coalesce=is_late)
        finally:
            with self._lock:
                self._busy_since = None
        ended = self._clock()
        if turn.timing.windows:
            self._meter.add_inference(
                queue_delay_s=started - due_since,
                inference_s=turn.timing.total_s,
                step_s=turn.timing.step_s,
                word_delays_s=_word_delays_s(turn, scheduled.handle, ended),
            )
        scheduled.handle.put(turn.events)
        return True

    def _guarded(
        self, scheduled: "ScheduledSession", work: "Callable[[ScheduledSession, Model], bool]", model: Model
    ) -> bool:
        """Do a session's work; whatever it raises ends that session, and no other."""
        try:
            return work(scheduled, model)
        except Exception as error:
            if not isinstance(error, SimulWhisperError):
                logger.exception("a session has failed")
            scheduled.handle.put([_failure(error)])
            return True


@dataclass(frozen=True)
class _Taken:
    n_samples: int
    n_lost: int


class ScheduledSession:
    """A session and its handle, as the inference thread sees them."""

    def __init__(self, handle: SessionHandle, config: AlignAttConfig, voice: VoiceConfig, drafts: bool) -> None:
        self.handle = handle
        self._config, self._voice, self._drafts = config, voice, drafts
        self._session: Session | None = None
        self._is_finished = False
        self._most_due_samples = round(config.audio_max_len * SAMPLE_RATE) // 2

    @property
    def is_due(self) -> bool:
        return self._session is not None and self._session.is_due and not self.handle.is_over

    @property
    def due_since(self) -> float:
        """When the oldest audio that is due had arrived; events that wait for no inference come before all."""
        assert self._session is not None
        sample = self._session.due_sample
        return -math.inf if sample is None else self.handle.arrived_at(sample)

    def take(self, model: Model) -> _Taken | None:
        """Give the session what has come, unless enough waits already; None when nothing was taken."""
        if self._is_finished or self.handle.is_over:
            return None
        self._session = self._session or Session(self._config, model, self._voice, drafts=self._drafts)
        if self._session.due_samples >= self._most_due_samples:
            return None
        pulled = self.handle.pull(_TAKEN_AT_ONCE)
        if pulled is None:
            return None
        if pulled.n_lost:
            self._session.drop(pulled.n_lost)
        self._session.take(pulled.samples)
        if pulled.is_flush:
            self._session.flush()
        if pulled.is_end:
            self._is_finished = True
            self._session.finish()
        return _Taken(len(pulled.samples), pulled.n_lost)

    def step(self, *, coalesce: bool) -> Turn:
        assert self._session is not None
        return self._session.step(coalesce=coalesce)


def _word_delays_s(turn: Turn, handle: SessionHandle, now: float) -> list[float]:
    """Return, for each word, how long after the audio of its end had come it was told."""
    delays = list[float]()
    for event in turn.events:
        if isinstance(event, Words):
            heard_at = handle.arrived_at(round(event.heard_s * SAMPLE_RATE))
            delays += [max(0.0, now - heard_at + event.heard_s - word.end_s) for word in event.words if word.is_spoken]
    return delays


def _failure(error: Exception) -> Event:
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "internal")
    return Failed(code, str(error) if code != "internal" else f"{type(error).__name__}: {error}")
