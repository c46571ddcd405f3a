"""The far end of lines: a pool of this process, whose sessions are those of servers elsewhere.

A server that does not ask any more has its sessions given up, whether it was killed or cannot be reached.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from simul_whisper import ConfigError
from streaming.cluster.line import (
    Abandon,
    Answer,
    Audio,
    ChooseTargets,
    Clear,
    Command,
    End,
    Flush,
    Open,
    Refused,
    Report,
    Skip,
)
from streaming.events import Failed, Reason, Recognised
from streaming.sessions.metrics import WAITING_AUDIO
from streaming.sessions.pool import RunningPool, SessionHandle, State
from streaming.sessions.request import Refusal
from streaming.sessions.session import SessionEndedError
from streaming.settings import WorkerConfig

if TYPE_CHECKING:
    from prometheus_client import Metric

# An answer waits so long for news. Servers ask again at once.
NEWS_S = 0.03
# What a replica has of a session that waits; the rest waits in the server, so that it can be heard elsewhere.
_BUFFER_S = 2.0
_SILENT_S = 30.0
_METRICS_S = 1.0


def of_replica(options: WorkerConfig) -> WorkerConfig:
    """Return the settings of a replica's thread, of those of a server."""
    return replace(options, buffer_s=min(_BUFFER_S, options.buffer_s))


class Replica:
    """Serves any number of servers. It owns the pool. clock: monotonic seconds."""

    def __init__(self, pool: RunningPool, clock: Callable[[], float] = time.monotonic) -> None:
        self.pool, self._clock = pool, clock
        self._callers = list[Caller]()
        self._lock = threading.Lock()
        self.is_draining = False

    def start(self) -> None:
        self.pool.start()

    def drain(self) -> None:
        """Let servers open no more sessions here; those that are open end by themselves."""
        self.is_draining = True

    def stop(self, drain_s: float = 0.0) -> None:
        """As `RunningPool.stop`."""
        self.is_draining = True
        self.pool.stop(drain_s)

    @property
    def n_sessions(self) -> int:
        """How many sessions are open here, of all servers."""
        with self._lock:
            return sum(each.n_sessions for each in self._callers)

    def caller(self) -> "Caller":
        """Return what a server's commands are given to; close it when the server is gone."""
        made = Caller(self, self._clock)
        with self._lock:
            self._callers.append(made)
        return made

    def forget(self, caller: "Caller") -> None:
        with self._lock:
            self._callers = [each for each in self._callers if each is not caller]

    def serve(self, connection: "Connection[Any, Any]") -> None:
        """Answer a server, in this thread, until it hangs up or does not ask any more; then give up its sessions.

        It ends too when the pool has failed that was ready: another process may do better.
        """
        was_ready = False
        with closing(connection), closing(self.caller()) as caller, suppress(EOFError, OSError):
            while connection.poll(_SILENT_S):
                answer = caller.exchange(connection.recv())
                if was_ready and answer.health.state is State.FAILED:
                    return
                was_ready |= answer.health.is_ready
                connection.send(answer)


class _Served:
    """A session of a server."""

    def __init__(self, handle: SessionHandle, wake: Callable[[], None]) -> None:
        self.handle = handle
        self._cursor = handle.log.cursor()
        self.n_taken = self._n_told = 0
        # Whether something was not taken, after which nothing is until the next exchange.
        self.is_full = False
        handle.log.add_waker(wake)

    def do(self, command: Command) -> None:
        if isinstance(command, Clear):
            self.handle.clear(command.n_samples)
            self.n_taken += command.n_samples
        elif isinstance(command, ChooseTargets):
            self.handle.choose_targets(command.targets)
        elif not self.is_full:
            self._do_in_turn(command)

    def _do_in_turn(self, command: Command) -> None:
        if isinstance(command, Audio):
            n = self.handle.submit(command.samples)
            self.n_taken += n
            self.is_full = n < len(command.samples)
        elif isinstance(command, Skip):
            self.is_full = not self.handle.skip(command.n_samples)
            self.n_taken += 0 if self.is_full else command.n_samples
        elif isinstance(command, Flush):
            self.handle.flush()
        elif isinstance(command, End):
            self.handle.end()

    def report(self, name: str) -> Report | None:
        """Return what is new; None when nothing is."""
        events = tuple(self._cursor.read())
        if not events and self.n_taken == self._n_told:
            return None
        self._n_told = self.n_taken
        return Report(name, events, self.n_taken)

    @property
    def is_over(self) -> bool:
        """Whether the last event was reported."""
        return self._cursor.is_done

    def give_up(self) -> None:
        self._cursor.close()
        if not self.handle.log.is_over:
            self.handle.clear()
            with suppress(SessionEndedError):
                self.handle.end()


class Caller:
    """What one server has of a replica. It is used by one thread."""

    def __init__(self, replica: Replica, clock: Callable[[], float]) -> None:
        self._replica, self._clock = replica, clock
        self._sessions = dict[str, _Served]()
        self._refused = dict[str, Refused]()
        self._news = threading.Event()
        self._metrics_at, self._waiting_s = float("-inf"), 0.0

    @property
    def n_sessions(self) -> int:
        return len(self._sessions)

    def exchange(self, commands: Sequence[Command]) -> Answer:
        """Carry out the commands; answer with what is new, waiting a moment for that."""
        for served in self._sessions.values():
            served.is_full = False
        for command in commands:
            self._do(command)
        self._news.clear()
        reports = self._reports()
        if not any(each.events or each.refused for each in reports.values()) and self._news.wait(NEWS_S):
            reports |= self._reports()
        return self._answer(tuple(reports.values()))

    def close(self) -> None:
        """The server is gone: give up its sessions."""
        self._replica.forget(self)
        for served in self._sessions.values():
            served.give_up()
        self._sessions.clear()

    def _do(self, command: Command) -> None:
        served = self._sessions.get(command.session)
        if isinstance(command, Open):
            self._open(command)
        elif served and isinstance(command, Abandon):
            del self._sessions[command.session]
            served.give_up()
        elif served:
            served.do(command)

    def _open(self, command: Open) -> None:
        try:
            if self._replica.is_draining:
                raise Refusal(Reason.STOPPING, "no session is opened here any more")
            handle = self._replica.pool.open(command.config, command.voice, drafts=command.drafts)
        except (Refusal, ConfigError) as error:
            reason = error.reason if isinstance(error, Refusal) else Reason.CONFIG
            self._refused[command.session] = Refused(reason, str(error))
        else:
            if command.again_s:
                handle.begin_anew(command.again_s)
            self._sessions[command.session] = _Served(handle, self._news.set)

    def _reports(self) -> dict[str, Report]:
        refused, self._refused = self._refused, {}
        reports = {name: Report(name, (), 0, refusal) for name, refusal in refused.items()}
        for name, served in list(self._sessions.items()):
            report = served.report(name)
            if report:
                reports[name] = report
            if served.is_over:
                del self._sessions[name]
                served.give_up()
        return reports

    def _answer(self, reports: tuple[Report, ...]) -> Answer:
        is_over = any(isinstance(event, Recognised | Failed) for each in reports for event in each.events)
        metrics = None
        if is_over or self._clock() >= self._metrics_at + _METRICS_S:
            self._metrics_at, metrics = self._clock(), self._replica.pool.metrics()
            self._waiting_s = _waiting_s(metrics)
        return Answer(reports, self._replica.pool.health(), self._waiting_s, self._replica.is_draining, metrics)


def _waiting_s(metrics: "Sequence[Metric]") -> float:
    return sum(each.value for family in metrics if family.name == WAITING_AUDIO for each in family.samples)
