"""A pool whose sessions are decoded by replicas, each pinned to one: the least loaded when it was opened.

A replica that is lost costs its sessions a moment: each is opened with another, which is played what had not been told
for certain. Without any replica, sessions wait for one for a while.
"""

import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable

from prometheus_client import Metric

from simul_whisper import SAMPLE_RATE, AlignAttConfig
from streaming.cluster.attendant import Attendant, Callbacks
from streaming.cluster.handle import RelayedHandle
from streaming.cluster.line import Line, LineLostError, Replicas
from streaming.cluster.metrics import PoolMetrics
from streaming.cluster.relayed import RelayedSession
from streaming.events import Failed, Reason
from streaming.sessions.admission import Why
from streaming.sessions.doorkeeper import no_place
from streaming.sessions.pool import Health, State
from streaming.sessions.request import Refusal
from streaming.settings import VoiceConfig, WorkerConfig

logger = logging.getLogger(__name__)

# How often it is looked which replicas there are.
_LOOK_S = 0.1
_JOIN_S = 5.0
PATIENCE_S = 60.0
_STOPPED = Failed(Reason.STOPPED, "the server was stopped")


class ReplicaPool:
    """A `RunningPool`. It owns the replicas' lines.

    Replicas let everybody in: who is refused is said here, by how many more each replica says that it bears.

    config: of sessions without one. options: of these, `max_sessions`, of all replicas together, and `buffer_s`.
    patience_s: how long a session waits for a replica. clock: monotonic seconds.
    """

    def __init__(
        self,
        replicas: Replicas,
        config: AlignAttConfig,
        options: WorkerConfig | None = None,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replicas, self._config = replicas, config.validated()
        self._options, self._patience_s, self._clock = options or WorkerConfig(), patience_s, clock
        # Other servers may have sessions with the same replicas.
        self._name, self._numbers = uuid.uuid4().hex[:12], itertools.count(1)
        self._changed = threading.Condition()
        self._attendants = dict[str, Attendant]()
        self._handles = list[RelayedHandle]()
        self._homeless = list[RelayedHandle]()
        self._metrics = PoolMetrics()
        self._callbacks = Callbacks(self._wake, self._moved, self._lost)
        # What replicas that are ready have in common; kept for the time when there is none.
        self._abilities = ("", tuple[str, ...](), tuple[str, ...]())
        # Lines that did not answer any more, as long as they are still offered.
        self._lost_lines: list[Line] = []
        self._why_stopped = ""
        self._was_ready = self._is_draining = self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> Health:
        """Wait until a replica is ready or all have failed, at most so long, and return the pool's health."""
        with self._changed:
            self._changed.wait_for(lambda: self._health().state is not State.LOADING, timeout_s)
        return self.health()

    def open(
        self, config: AlignAttConfig | None = None, voice: VoiceConfig | None = None, *, drafts: bool = True
    ) -> RelayedHandle:
        """As `InferencePool.open`."""
        config = (config or self._config).validated()
        name, room = f"{self._name}-{next(self._numbers)}", round(self._options.buffer_s * SAMPLE_RATE)
        session = RelayedSession(name, config, voice, drafts=drafts, capacity_samples=room)
        with self._changed:
            refusal = self._refusal()
            if refusal:
                raise refusal
            self._metrics.sessions.sessions_opened.inc()
            handle = RelayedHandle(session, self._clock())
            self._handles.append(handle)
            self._place(handle)
        return handle

    def health(self) -> Health:
        with self._changed:
            return self._health()

    def metrics(self) -> tuple[Metric, ...]:
        with self._changed:
            self._forget_over()
            handles, attendants = list(self._handles), list(self._attendants.values())
        self._metrics.sessions.sessions_open.set(len(handles))
        waiting_s = sum(each.waiting_samples for each in handles) / SAMPLE_RATE
        return self._metrics.read(attendants, waiting_s)

    def stop(self, drain_s: float = 0.0) -> None:
        """As `RunningPool.stop`; it returns when the lines are closed."""
        with self._changed:
            self._is_draining = True
            for handle in self._handles:
                handle.drain()
        if self._thread.is_alive():
            self._wait_over(drain_s)
        with self._changed:
            # Why none can be had, which whoever has stopped it for that will tell.
            self._why_stopped = self._health().message
            self._is_stopped = True
            handles, attendants = list(self._handles), list(self._attendants.values())
            self._changed.notify_all()
        for handle in handles:
            handle.fail(_STOPPED)
        for attendant in attendants:
            attendant.stop()
        for attendant in attendants:
            attendant.join(_JOIN_S)
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        self._replicas.close()

    def _wait_over(self, timeout_s: float) -> None:
        until = self._clock() + timeout_s
        with self._changed:
            while any(not each.is_over for each in self._handles) and self._clock() < until:
                self._changed.wait(_LOOK_S)

    # Under the lock

    def _refusal(self) -> Refusal | None:
        n_open = sum(not each.is_over for each in self._handles)
        health = self._health()
        if self._is_draining or health.state in (State.FAILED, State.STOPPED):
            why = health.message or "no session can be opened any more: this is being stopped"
            self._metrics.sessions.sessions_refused.labels(Reason.STOPPING.value).inc()
            return Refusal(Reason.STOPPING, why)
        if health.n_places == 0:
            full = Why.LIMIT if self._options.max_sessions and n_open >= self._options.max_sessions else Why.LOAD
            self._metrics.sessions.sessions_refused.labels(full.value).inc()
            return no_place(n_open, full, health.retry_after_s)
        return None

    def _places(self, n_open: int) -> tuple[int | None, float | None]:
        """Return how many more are let in, None for any number, and where none is in how many seconds one may be."""
        attendants = [each for each in self._attendants.values() if each.is_open]
        known = [each.n_places for each in attendants]
        borne = [each for each in known if each is not None]
        places = [max(0, self._options.max_sessions - n_open)] if self._options.max_sessions else []
        if borne and len(borne) == len(known):
            places.append(sum(borne))
        if not places:
            return None, None
        waits_s = [each.health.retry_after_s for each in attendants if each.health.retry_after_s is not None]
        return min(places), min(waits_s, default=None) if min(places) == 0 else None

    def _health(self) -> Health:
        healths = [each.health for each in self._attendants.values()]
        ready = [each for each in healths if each.is_ready]
        if ready:
            self._was_ready = True
            self._abilities = (ready[0].model, ready[0].languages, ready[0].tasks)
        state, message = self._state(healths)
        busy_s = min((each.busy_s for each in ready), default=0.0)
        n_places, wait_s = self._places(sum(not each.is_over for each in self._handles))
        is_alive, is_ready = self._thread.is_alive(), state is State.READY
        return Health(state, is_alive, is_ready, busy_s, message, *self._abilities, (), n_places, wait_s)

    def _state(self, healths: list[Health]) -> tuple[State, str]:
        if self._is_stopped:
            return State.STOPPED, self._why_stopped
        if any(each.is_ready for each in healths):
            return State.READY, ""
        failed = [each.message for each in healths if each.state is State.FAILED]
        if failed and len(failed) == len(healths):
            return State.FAILED, failed[0]
        return State.LOADING, ""

    def _place(self, handle: RelayedHandle, but: Attendant | None = None) -> None:
        """Give a session to the replica with the least to do; without any it has to wait."""
        candidates = [each for each in self._attendants.values() if each.is_open and each is not but]
        for attendant in sorted(candidates, key=lambda each: each.load):
            if attendant.take(handle):
                return
        self._homeless.append(handle)

    def _forget_over(self) -> None:
        over = [each for each in self._handles if each.is_over]
        self._metrics.sessions.sessions_failed.inc(sum(isinstance(each.log.last, Failed) for each in over))
        self._handles = [each for each in self._handles if each not in over]

    # What lines tell

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _moved(self, attendant: Attendant, handle: RelayedHandle) -> None:
        """A replica has given a session up, or will not have it."""
        self._begin_anew(handle)
        with self._changed:
            self._place(handle, but=attendant)

    def _lost(self, attendant: Attendant, error: LineLostError) -> None:
        with self._changed:
            if self._is_stopped or attendant not in self._attendants.values():
                return
            self._attendants = {name: each for name, each in self._attendants.items() if each is not attendant}
            self._lost_lines.append(attendant.line)
            sessions = [each for each in attendant.given_back() if not each.is_over]
            has_said_so = attendant.is_draining and not sessions
            self._metrics.leave(attendant, is_lost=not has_said_so)
        if not has_said_so:
            logger.warning("%s is lost: %s; its sessions go on elsewhere: %d", attendant.name, error, len(sessions))
        for handle in sessions:
            self._begin_anew(handle)
        with self._changed:
            for handle in sessions:
                self._place(handle)
            self._changed.notify_all()

    def _begin_anew(self, handle: RelayedHandle) -> None:
        self._metrics.replayed_s.inc(handle.lost())
        self._metrics.sessions_moved.inc()
        handle.homeless_since = self._clock()

    # The thread that keeps the replicas

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                self._look()
            except Exception:
                # Those that are there go on, and it is tried again.
                logger.exception("the replicas could not be looked after")
            self._see_to_the_homeless()
            with self._changed:
                if not self._is_stopped:
                    self._changed.wait(_LOOK_S)

    def _look(self) -> None:
        """Attend to new replicas, and leave those that are gone."""
        lines = self._replicas.lines()
        with self._changed:
            gone = [each for name, each in self._attendants.items() if name not in lines]
            self._lost_lines = [each for each in self._lost_lines if each in lines.values()]
            unknown = [line for name, line in lines.items() if name not in self._attendants]
            new = [Attendant(line, self._callbacks) for line in unknown if line not in self._lost_lines]
            self._attendants |= {each.name: each for each in new}
        for attendant in gone:
            attendant.stop()
            self._lost(attendant, LineLostError("it is not there any more"))
        for attendant in new:
            attendant.start()

    def _see_to_the_homeless(self) -> None:
        """Give those a replica who have none; they fail when none could be had for long."""
        with self._changed:
            health, since = self._health(), self._clock() - self._patience_s
            homeless, self._homeless = [each for each in self._homeless if not each.is_over], []
            if health.state is State.FAILED:
                hopeless, failed = homeless, Failed(Reason.ENGINE, health.message)
            else:
                hopeless = [each for each in homeless if self._was_ready and each.homeless_since < since]
                why = f"no replica could be had for {self._patience_s:g} s; try again later"
                failed = Failed(Reason.OVERLOADED, why)
            for handle in homeless:
                if handle not in hopeless:
                    self._place(handle)
        for handle in hopeless:
            handle.fail(failed)
        with self._changed:
            self._forget_over()
