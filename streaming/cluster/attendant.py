"""The thread of one line: it says what the sessions of a replica have to say, and hears what it answers."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streaming.cluster.handle import RelayedHandle
from streaming.cluster.line import Answer, Line, LineLostError
from streaming.sessions.pool import Health, State

if TYPE_CHECKING:
    from prometheus_client import Metric

logger = logging.getLogger(__name__)

# How often a replica without sessions is asked how it is.
_LOOK_S = 0.1
# An inference that takes longer will not come back.
_HUNG_S = 120.0


@dataclass(frozen=True)
class Callbacks:
    """What a pool is told, in the thread of the line. refused: of a session that has to go elsewhere."""

    changed: Callable[[], None]
    refused: Callable[["Attendant", RelayedHandle], None]
    lost: Callable[["Attendant", LineLostError], None]


class Attendant:
    """Any thread may read what is known of the replica, and give it sessions."""

    def __init__(self, line: Line, callbacks: Callbacks) -> None:
        self.name = line.name
        self.line, self._callbacks = line, callbacks
        self._lock, self._woken = threading.Lock(), threading.Event()
        self._sessions: list[RelayedHandle] = []
        self._is_closed = self._is_stopped = False
        self._n_known = 0
        self.health = Health(State.LOADING, is_alive=True, is_ready=False, busy_s=0.0, message="")
        self.metrics: tuple[Metric, ...] = ()
        self._waiting_audio_s, self.is_draining = 0.0, False
        self._thread = threading.Thread(target=self._run, name=f"line {line.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self, handle: RelayedHandle) -> bool:
        """Have the replica decode a session; False when it cannot any more."""
        with self._lock:
            if self._is_closed:
                return False
            self._sessions.append(handle)
        self._woken.set()
        return True

    def stop(self) -> None:
        """Hang up; sessions that are not over are left as they are."""
        self._is_stopped = True
        self._woken.set()

    def join(self, timeout_s: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def is_open(self) -> bool:
        """Whether new sessions may come."""
        return self.health.is_ready and not self.is_draining and not self._is_closed

    @property
    def load(self) -> float:
        """How much there is to do: sessions, and seconds of audio that wait."""
        return self.n_sessions + self._waiting_audio_s

    @property
    def n_places(self) -> int | None:
        """How many more listeners it bears, with those that it does not know of yet; None: any number."""
        if self.health.n_places is None:
            return None
        return max(0, self.health.n_places - max(0, self.n_sessions - self._n_known))

    @property
    def waiting_audio_s(self) -> float:
        return self._waiting_audio_s

    @property
    def n_sessions(self) -> int:
        return len(self._sessions)

    def given_back(self) -> list[RelayedHandle]:
        """Take no more sessions, and return those that are here."""
        with self._lock:
            self._is_closed = True
            sessions, self._sessions = self._sessions, []
        return sessions

    # The thread of the line

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                self._exchange()
                if not self._sessions:
                    self._woken.wait(_LOOK_S)
                self._woken.clear()
        except LineLostError as error:
            self._callbacks.lost(self, error)
        except Exception as error:
            logger.exception("the line to %s has failed", self.name)
            self._callbacks.lost(self, LineLostError(f"{type(error).__name__}: {error}"))
        finally:
            self.line.close()

    def _exchange(self) -> None:
        with self._lock:
            # Whoever takes a session away does it before or after it has said something.
            present = [(handle.name, handle, handle.commands()) for handle in self._sessions]
        answer = self.line.exchange([command for _, _, commands in present for command in commands])
        self._n_known = len(present)
        self._note(answer)
        reports = {report.session: report for report in answer.reports}
        moving = [handle for name, handle, _ in present if handle.answered(name, reports.get(name))]
        with self._lock:
            moving = [each for each in moving if each in self._sessions]
            self._sessions = [each for each in self._sessions if each not in moving and not each.has_left]
        for handle in moving:
            self._callbacks.refused(self, handle)
        if answer.health.busy_s > _HUNG_S:
            raise LineLostError(f"its inference has been running for {answer.health.busy_s:.0f} s")

    def _note(self, answer: Answer) -> None:
        before = (self.health.state, self.is_open)
        self.health, self.is_draining = answer.health, answer.is_draining
        self._waiting_audio_s = answer.waiting_audio_s
        self.metrics = self.metrics if answer.metrics is None else answer.metrics
        if (self.health.state, self.is_open) != before:
            self._callbacks.changed()
