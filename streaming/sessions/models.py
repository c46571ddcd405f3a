"""Several models in one server: a pool for each, made when a session asks for it and given up when none does any more.

The first model is always there. The others share what memory is left: one that does not fit beside those in use makes
the least recently used of the idle ones go, or is refused. One is loaded at a time, so that what it takes can be told,
and those who speak meanwhile lose little.
"""

import gc
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from simul_whisper import (
    AlignAttConfig,
    ModelFiles,
    available_memory,
    give_back_memory,
    model_files,
    resident_memory,
)
from streaming.events import Reason
from streaming.sessions.metrics import NAMESPACE, gone_on_from, told_apart
from streaming.sessions.pool import Health, RunningPool, SessionHandle, State
from streaming.sessions.request import Refusal
from streaming.settings import ModelsConfig, VoiceConfig

logger = logging.getLogger(__name__)

# How much memory a model takes that was never loaded here: tiny.en took 1.7 times its files, base 1.5 times.
_BYTES_PER_FILE_BYTE = 2
_MEGABYTE = 1_000_000
# A model that could not be loaded is not tried again for so long.
_RETRY_S = 30.0
# How often it is looked after the models, while one is loaded and else.
_LOOK_S, _IDLE_LOOK_S = 0.05, 1.0


class Memory(Protocol):
    """The memory of this process, in bytes; None where the system does not say."""

    def taken(self) -> int | None: ...

    def left(self) -> int | None: ...

    def give_back(self) -> None:
        """Let the system have what is not needed any more."""
        ...


class ProcessMemory:
    """A `Memory`."""

    def taken(self) -> int | None:
        return resident_memory()

    def left(self) -> int | None:
        return available_memory()

    def give_back(self) -> None:
        gc.collect()
        give_back_memory()


@dataclass
class _Kept:
    """A model, loaded or not. config: with which it is loaded. used_at: when a session was last seen, by the clock.

    n_bytes: what it takes, or will as far as can be told. taken_before: by all else, where that can be told. failed_at,
    message: of a failure that nothing better has followed. counted: by the pools that it had before.
    """

    name: str
    config: AlignAttConfig
    languages: tuple[str, ...]
    tasks: tuple[str, ...]
    pool: RunningPool | None = None
    sessions: list[SessionHandle] = field(default_factory=list)
    used_at: float = 0.0
    n_bytes: int = 0
    is_measured: bool = False
    is_started: bool = False
    taken_before: int | None = None
    failed_at: float = -math.inf
    message: str = ""
    n_loaded: int = 0
    n_failed: int = 0
    counted: tuple[Metric, ...] = ()

    def health(self) -> Health:
        asked = (self.name, self.languages, self.tasks)
        if self.pool is None:
            return Health(State.FAILED if self.message else State.UNLOADED, False, False, 0.0, self.message, *asked)
        health = self.pool.health()
        languages, tasks = health.languages or self.languages, health.tasks or self.tasks
        return replace(health, model=self.name, languages=languages, tasks=tasks)

    @property
    def is_loading(self) -> bool:
        return self.pool is not None and self.pool.health().state is State.LOADING

    @property
    def n_open(self) -> int:
        return sum(not each.log.is_over for each in self.sessions)

    @property
    def is_idle(self) -> bool:
        """Whether it could be unloaded."""
        return self.pool is not None and not self.is_loading and not self.n_open

    def look(self, now: float) -> None:
        """Note whether it is used, and forget sessions that are over."""
        self.sessions = [each for each in self.sessions if not each.log.is_over]
        if self.is_loading or self.sessions:
            self.used_at = now

    def metrics(self) -> tuple[Metric, ...]:
        return gone_on_from(self.counted, self.pool.metrics()) if self.pool else self.counted


class ModelsPool:
    """A `RunningPool` of the pools of several models. A session's `model_name` says which it gets.

    models: with what each is loaded, by name, the first being always there. make: returns the pool of a model, which is
    not started yet. most_sessions: of all models together; 0: any number. look_up: what is known of a model before it
    is loaded. notice: is told what whoever runs this may want to know. clock: monotonic seconds. Who does not `start`
    it has to `tend` it now and then.
    """

    def __init__(
        self,
        models: Mapping[str, AlignAttConfig],
        make: Callable[[str, AlignAttConfig], RunningPool],
        options: ModelsConfig,
        *,
        most_sessions: int,
        look_up: Callable[[str], ModelFiles] = model_files,
        memory: Memory | None = None,
        notice: Callable[[str], None] = logger.info,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._options, self._most_sessions = make, options, most_sessions
        self._look_up, self._memory, self._clock = look_up, memory or ProcessMemory(), clock
        self._notice = notice
        self._kept = {name: self._known(name, config) for name, config in models.items()}
        self._first = next(iter(self._kept.values()))
        self._lock = threading.Lock()
        self._leaving: list[RunningPool] = []
        self._loading: _Kept | None = None
        self._is_stopping = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self._first.pool = make(self._first.name, self._first.config)

    def _known(self, name: str, config: AlignAttConfig) -> _Kept:
        files = self._look_up(_called(config))
        tasks = ("transcribe", "translate") if len(files.languages) > 1 else ("transcribe",)
        return _Kept(name, config, files.languages, tasks, n_bytes=_likely_bytes(files))

    # For any thread

    def start(self) -> None:
        self.tend()
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> Health:
        """Wait for the first model."""
        assert self._first.pool
        self._first.pool.wait_ready(timeout_s)
        return self.health()

    def open(
        self, config: AlignAttConfig | None = None, voice: VoiceConfig | None = None, *, drafts: bool = True
    ) -> SessionHandle:
        """As `InferencePool.open`; a model that is not loaded is loaded meanwhile."""
        kept = self._kept.get(config.model_name) if config else self._first
        if kept is None:
            raise Refusal(Reason.CONFIG, f"got another model than {', '.join(self._kept)}")
        with self._lock:
            self._check_open()
            pool = kept.pool if kept.pool and not self._has_failed(kept) else self._begun(kept)
            handle = pool.open(config or kept.config, voice, drafts=drafts)
            kept.sessions.append(handle)
            kept.used_at = self._clock()
        self._woken.set()
        return handle

    def health(self) -> Health:
        with self._lock:
            first, *others = (each.health() for each in self._kept.values())
            return replace(first, others=tuple(others))

    def metrics(self) -> tuple[Metric, ...]:
        with self._lock:
            kept = list(self._kept.values())
            families = told_apart({each.name: each.metrics() for each in kept}, "model")
        loaded = GaugeMetricFamily(f"{NAMESPACE}_model_loaded", "1 when it is in memory", labels=["model"])
        taken = GaugeMetricFamily(f"{NAMESPACE}_model_memory_bytes", "what it takes, if loaded", labels=["model"])
        loads = CounterMetricFamily(f"{NAMESPACE}_model_loads", "how often it was loaded", labels=["model"])
        failures = CounterMetricFamily(f"{NAMESPACE}_model_load_failures", "how often it failed", labels=["model"])
        for each in kept:
            loaded.add_metric([each.name], float(each.pool is not None))
            taken.add_metric([each.name], each.n_bytes if each.pool else 0)
            loads.add_metric([each.name], each.n_loaded)
            failures.add_metric([each.name], each.n_failed)
        return (*families, loaded, taken, loads, failures)

    def stop(self, drain_s: float = 0.0) -> None:
        until = time.monotonic() + drain_s
        with self._lock:
            self._is_stopping = True
            pools = [*self._leaving, *(each.pool for each in self._kept.values() if each.pool)]
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join()
        left_s = max(0.0, until - time.monotonic()) if drain_s else 0.0
        # At once: sessions of one model do not wait for those of another, and have the same time.
        with ThreadPoolExecutor(len(pools)) as stopping:
            list(stopping.map(lambda pool: pool.stop(left_s), pools))

    # Sessions

    def _check_open(self) -> None:
        if self._is_stopping:
            raise Refusal(Reason.STOPPING, "no session can be opened any more: this is being stopped")
        n_open = sum(each.n_open for each in self._kept.values())
        if self._most_sessions and n_open >= self._most_sessions:
            raise Refusal(Reason.TOO_MANY_SESSIONS, f"{n_open} sessions are open, and no more are allowed; try later")

    def _has_failed(self, kept: _Kept) -> bool:
        """Whether a model cannot be used, which is noted; not so of the first, with which the server ends."""
        assert kept.pool
        health = kept.pool.health()
        if kept is self._first or health.state is not State.FAILED:
            return False
        kept.failed_at, kept.message, kept.n_failed = self._clock(), health.message, kept.n_failed + 1
        self._let_go(kept)
        return True

    def _begun(self, kept: _Kept) -> RunningPool:
        """Make the pool of a model, which will be loaded. Raises Refusal."""
        if self._clock() - kept.failed_at < _RETRY_S:
            others = " or ".join(each.name for each in self._kept.values() if not each.message)
            raise Refusal(Reason.ENGINE, f"the model {kept.name} cannot be used at present; ask for {others}")
        if not kept.n_bytes:
            kept.n_bytes = _likely_bytes(self._look_up(_called(kept.config)))
        for each in self._victims(kept):
            self._notice(f"the model {each.name} is unloaded, to make room for {kept.name}")
            self._let_go(each)
        kept.pool, kept.is_started, kept.message = self._make(kept.name, kept.config), False, ""
        return kept.pool

    def _victims(self, kept: _Kept) -> list[_Kept]:
        """Return those that have to go for it, the least recently used first. Raises Refusal where it has no room."""
        room, victims = self._room(), list[_Kept]()
        idle = [each for each in self._kept.values() if each is not self._first and each.is_idle]
        for each in sorted(idle, key=lambda each: each.used_at):
            if kept.n_bytes <= room:
                break
            room += each.n_bytes
            victims.append(each)
        if kept.n_bytes <= room:
            return victims
        most = self._options.model_memory * _MEGABYTE
        if most and kept.n_bytes > most - self._first.n_bytes:
            raise Refusal(Reason.CONFIG, f"the model {kept.name} needs more memory than this server has for models")
        in_use = ", ".join(each.name for each in self._kept.values() if each.pool)
        raise Refusal(
            Reason.OVERLOADED, f"there is no memory for the model {kept.name} beside {in_use}; try again later"
        )

    def _room(self) -> float:
        """Return how many bytes another model may take."""
        if self._options.model_memory:
            taken = sum(each.n_bytes for each in self._kept.values() if each.pool)
            return self._options.model_memory * _MEGABYTE - taken
        left = self._memory.left()
        if left is None:
            return math.inf
        return left - sum(each.n_bytes for each in self._kept.values() if each.is_loading)

    def _let_go(self, kept: _Kept) -> None:
        assert kept.pool
        kept.counted = kept.metrics()
        self._leaving.append(kept.pool)
        kept.pool, kept.sessions = None, []
        if self._loading is kept:
            self._loading = None

    # The thread that looks after them

    def _run(self) -> None:
        while not self._is_stopping:
            self._woken.wait(_LOOK_S if self._loading else _IDLE_LOOK_S)
            self._woken.clear()
            try:
                self.tend()
            except Exception:
                # The models that are there go on, and it is tried again.
                logger.exception("the models could not be looked after")

    def tend(self) -> None:
        """Load what is asked for, and unload what is not needed any more."""
        with self._lock:
            self._settle()
            for each in self._overdue():
                self._notice(f"the model {each.name} is unloaded")
                self._let_go(each)
            leaving, self._leaving = self._leaving, []
        for pool in leaving:
            pool.stop()
        if leaving:
            del pool, leaving
            self._memory.give_back()
        with self._lock:
            self._load_next()

    def _settle(self) -> None:
        """Note how the loading has ended, and who is used."""
        now = self._clock()
        for each in self._kept.values():
            each.look(now)
            if each.pool:
                self._has_failed(each)
        loading = self._loading
        if loading is None or loading.is_loading:
            return
        self._loading = None
        health = loading.health()
        loading.languages, loading.tasks = health.languages, health.tasks
        taken = self._memory.taken()
        if taken is not None and loading.taken_before is not None:
            # Once more, it is given some of the memory that it left.
            most = loading.n_bytes if loading.is_measured else 0
            loading.n_bytes, loading.is_measured = max(most, taken - loading.taken_before), True

    def _overdue(self) -> list[_Kept]:
        """Return those that nobody has used for long, and as many others as there are beyond the memory."""
        idle = [each for each in self._kept.values() if each is not self._first and each.is_idle]
        idle.sort(key=lambda each: each.used_at)
        now, beyond = self._clock(), -self._room() if self._options.model_memory else 0
        found = list[_Kept]()
        for each in idle:
            if now - each.used_at >= self._options.model_idle or beyond > 0:
                beyond -= each.n_bytes
                found.append(each)
        return found

    def _load_next(self) -> None:
        waiting = [each for each in self._kept.values() if each.pool and not each.is_started]
        if self._loading or not waiting or self._is_stopping:
            return
        kept = self._loading = waiting[0]
        assert kept.pool
        kept.taken_before, kept.is_started, kept.n_loaded = self._memory.taken(), True, kept.n_loaded + 1
        kept.pool.start()


def _likely_bytes(files: ModelFiles) -> int:
    return _BYTES_PER_FILE_BYTE * (files.size_bytes or 0)


def _called(config: AlignAttConfig) -> str:
    return config.model_path or config.model_name
