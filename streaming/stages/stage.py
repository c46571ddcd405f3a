"""A stage of a session, and the thread that runs it beside the others."""

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

from simul_whisper import SimulWhisperError
from streaming.events import Event, Failed, Reason
from streaming.sessions.event_log import Cursor, EventLog
from streaming.tracing import enter

logger = logging.getLogger(__name__)

_TURN_S = 1.0


class Stage(Protocol):
    """Events in, events out. It is given all events of the session, its own included, and passes over most of them.

    It waits for nothing in `feed`, so that it misses no event: what takes time has a thread of its own, which sets
    `woken` when it is done.
    """

    @property
    def woken(self) -> threading.Event:
        """Set, by any thread, for `feed` to be called soon although no event has come."""
        ...

    def feed(self, events: Sequence[Event]) -> Iterable[Event]:
        """Return what events bring, or what was done since; there may be many events at once, or none."""
        ...

    def flush(self) -> Iterable[Event]:
        """Nothing follows: return what is held. It may take a while, and tell one event after another."""
        ...


def run_stage(log: EventLog, stage: Stage) -> threading.Thread:
    """Run a stage on a thread of its own, which ends with the session. It is given the events from now on.

    Stages are run in the order in which one reads the other; each is flushed once all before it have finished. One that
    none before it reads may be added at any time. What a stage raises ends the session.
    """
    cursor = log.cursor(after=log.n_appended)
    n_before = log.add_writer()
    thread = threading.Thread(target=_run, args=(log, cursor, stage, n_before), name=type(stage).__name__, daemon=True)
    thread.start()
    return thread


def _run(log: EventLog, cursor: Cursor, stage: Stage, n_before: int) -> None:
    wake = stage.woken.set
    enter(log.trace)
    log.add_waker(wake)
    try:
        is_last = False
        while not is_last and not log.is_over:
            stage.woken.clear()
            # Asked before the events are read, so that none comes after them.
            is_last = log.n_finished >= n_before
            _tell(log, cursor, stage.feed(cursor.read()))
            if not is_last:
                stage.woken.wait(_TURN_S)
        if is_last:
            _tell(log, cursor, stage.flush())
            log.finish()
        elif log.last:
            # So that it lets go of what it is at; nothing is told any more.
            _tell(log, cursor, stage.feed([log.last]))
    except Exception as error:
        if not isinstance(error, SimulWhisperError):
            logger.exception("a stage has failed")
        log.append([Failed(Reason.ENGINE, f"{type(stage).__name__}: {error}")])
    finally:
        log.remove_waker(wake)
        cursor.close()


def _tell(log: EventLog, cursor: Cursor, events: Iterable[Event]) -> None:
    """Write each event when it comes; the log, which all others use, does not wait for the next."""
    for event in events:
        log.append([event], read_to=cursor.position)
