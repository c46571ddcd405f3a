"""Who is let in by a worker: it counts what the worker's turns take, and asks `Admission`. Any thread may use it."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simul_whisper import SAMPLE_RATE
from streaming.events import Reason
from streaming.sessions.admission import Admission, Why
from streaming.sessions.metrics import SessionMetrics
from streaming.sessions.request import Refusal
from streaming.sessions.scheduled import ScheduledSession, Taken, Told
from streaming.settings import WorkerConfig

_SAID = {
    Why.LIMIT: "and no more are allowed",
    Why.LOAD: "and one more could not be served in time",
    Why.LATE: "and what is said there has to wait already",
}


@dataclass(frozen=True)
class House:
    """Who is there. n_listeners: whose audio comes as it is spoken."""

    n_open: int
    n_listeners: int

    @classmethod
    def of(cls, sessions: Sequence[ScheduledSession]) -> "House":
        is_open = [each for each in sessions if not each.is_over]
        return cls(len(is_open), sum(not each.is_upload for each in is_open))


class Doorkeeper:
    """clock: monotonic seconds. Until something was measured, it knows no limit but the one that is set."""

    def __init__(self, options: WorkerConfig, metrics: SessionMetrics, clock: Callable[[], float]) -> None:
        self._options, self._metrics, self._clock = options, metrics, clock
        self._lock = threading.Lock()
        self._admission = Admission(None, clock())

    def begin(self, speech_cost: float) -> None:
        """A second of speech takes so many seconds of computation, it is thought."""
        with self._lock:
            self._admission = Admission(speech_cost, self._clock())

    def note(self, done: Taken | Told) -> None:
        """A turn is over. One that nobody listens to teaches nothing of what listeners cost."""
        if done.is_backlog:
            return
        with self._lock:
            if isinstance(done, Taken):
                self._admission.took(done.n_samples / SAMPLE_RATE, done.spent_s)
            elif done.n_decoded:
                is_late, speech_s = done.waited_s > self._options.late_s, done.n_decoded / SAMPLE_RATE
                now_s = self._clock()
                self._admission.decoded(now_s, speech_s, done.spent_s, is_late=is_late, is_draft=done.is_draft)

    def note_sessions(self, house: House, n_ended: int = 0) -> None:
        """So many are there from now on, and so many have ended."""
        with self._lock:
            self._admission.note_sessions(self._clock(), house.n_open, house.n_listeners, n_ended)

    def refusal(self, house: House) -> Refusal | None:
        """Return what is said to one more, if there is no place."""
        with self._lock:
            most = self._options.max_sessions
            full = self._admission.full(self._clock(), house.n_open, house.n_listeners, most)
        if not full:
            return None
        self._metrics.sessions_refused.labels(full.why.value).inc()
        return no_place(house.n_open, full.why, full.retry_after_s)

    def places(self, house: House) -> tuple[int | None, float | None]:
        """Return how many more are let in, None for any number, and where none is in how many seconds one may be."""
        with self._lock:
            now_s, most = self._clock(), self._options.max_sessions
            n_places = self._admission.n_places(now_s, house.n_open, house.n_listeners, most)
            return n_places, self._admission.wait_s(now_s) if n_places == 0 else None

    def write_metrics(self) -> None:
        with self._lock:
            capacity, cost = self._admission.capacity(self._clock()), self._admission.listener_cost
        self._metrics.listeners_most.set(math.inf if capacity is None else capacity)
        self._metrics.listener_cost.set(cost)


def no_place(n_open: int, why: Why, wait_s: float | None) -> Refusal:
    """Return what is said to one too many. wait_s: until there probably is a place; None: nobody knows."""
    is_open = f"{n_open} sessions are open" if n_open > 1 else "a session is open" if n_open else "no session is open"
    again = "later" if wait_s is None else f"in {wait_s:.0f} s"
    return Refusal(Reason.TOO_MANY_SESSIONS, f"{is_open}, {_SAID[why]}; try again {again}", wait_s)
