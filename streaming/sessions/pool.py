"""Where inference happens, as servers and programs see it: a thread here, actors elsewhere.

Nothing here keeps it from being in another process: what goes in and out is data, and no clock is shared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper import AlignAttConfig
from streaming.events import Failed
from streaming.sessions.event_log import EventLog
from streaming.settings import VoiceConfig

if TYPE_CHECKING:
    from prometheus_client import Metric

# Seconds after which Python lets another thread run: sockets are not to wait for inference, whose libraries do not all
# let other threads run meanwhile. For whoever has a pool and sockets in one process.
SWITCH_S = 0.0005


class State(Enum):
    LOADING = "loading"
    READY = "ready"
    # Of one of several models: it is loaded when somebody asks for it.
    UNLOADED = "unloaded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Health:
    """is_alive: the thread runs. is_ready: it does, and a real inference has succeeded. busy_s: how long the present
    inference has been running, 0 when none does. message: what has failed, else empty.

    model, languages, tasks: its name, and what it can be asked for; empty before it is ready.
    others: where a session may have another model than this one, those models; what they can be asked for is told
    before they are loaded, too.
    n_places: how many more listeners are let in; None: any number, or not known. retry_after_s: where it is 0, in how
    many seconds there probably is a place.
    """

    state: State
    is_alive: bool
    is_ready: bool
    busy_s: float
    message: str
    model: str = ""
    languages: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    others: "tuple[Health, ...]" = ()
    n_places: int | None = None
    retry_after_s: float | None = None

    @property
    def all(self) -> "tuple[Health, ...]":
        """That of every model, the one that a session gets if nothing speaks for another first."""
        return (self, *self.others)

    def of(self, model: str) -> "Health":
        """Return that of one model; where there is but one, it is that."""
        return next((each for each in self.others if each.model == model), replace(self, others=()))

    @property
    def together(self) -> "Health":
        """That of all models as if they were one: what any can be asked for, and the most places of any."""
        languages = tuple(dict.fromkeys(code for each in self.all for code in each.languages))
        tasks = tuple(dict.fromkeys(task for each in self.all for task in each.tasks))
        usable = [each for each in self.all if each.state is not State.FAILED] or [self]
        most = max(usable, key=lambda each: math.inf if each.n_places is None else each.n_places)
        places, wait_s = most.n_places, most.retry_after_s
        return replace(self, languages=languages, tasks=tasks, others=(), n_places=places, retry_after_s=wait_s)


class SessionHandle(Protocol):
    """The listener's end of a session. Any thread may use it, and nothing waits for inference."""

    @property
    def log(self) -> EventLog:
        """All that is told, to be read with cursors."""
        ...

    def submit(self, samples: NDArray[np.float32], *, drop_oldest: bool = False) -> int:
        """Hand over float32 (n,) mono 16 kHz; return how many samples were taken: fewer than n means "I am full".

        Offer the rest a little later. With `drop_oldest`, for devices that cannot wait, all are taken, and audio that
        nobody has heard may be lost for it; an event will say which. After the session is over, audio is passed over.
        Raises AudioFormatError, which changes nothing, and SessionEndedError after `end`.
        """
        ...

    def flush(self) -> None:
        """Decode what was submitted to its end; `Flushed` follows. Raises SessionEndedError after `end`."""
        ...

    def clear(self, n_samples: int = 0) -> None:
        """Give up what was submitted and not decoded yet, and the next `n_samples`, which will not come.

        `Cleared` follows. Also after `end`, when no samples would come.
        """
        ...

    def skip(self, n_samples: int) -> bool:
        """The next `n_samples` are lost, as `AudioDropped` will say; False while there is audio that comes before.

        Offer it again a little later. Raises SessionEndedError after `end`.
        """
        ...

    def choose_targets(self, targets: Sequence[str]) -> None:
        """Have Whisper translate, from the next pass on, into these: English, or none. At any time."""
        ...

    def begin_anew(self, again_s: float) -> None:
        """Say before all audio that the session was lost elsewhere: so much comes at once that was spoken before.

        It is late, and no backlog of somebody who does not listen.
        """
        ...

    def end(self, failed: Failed | None = None) -> None:
        """Nothing follows; the rest will be decoded. The last event is `Ended`, or `failed` in its place.

        Raises SessionEndedError the second time.
        """
        ...


class InferencePool(Protocol):
    """Opens sessions, and says how it is."""

    def open(
        self, config: AlignAttConfig | None = None, voice: VoiceConfig | None = None, *, drafts: bool = True
    ) -> SessionHandle:
        """Open a session; audio may be submitted at once, ready or not. config: None for the pool's own.

        Raises ConfigError for impossible settings and Refusal. What only the model can refuse, such as a language it
        lacks, comes as a `Failed` event.
        """
        ...

    def health(self) -> Health: ...

    def metrics(self) -> "tuple[Metric, ...]":
        """Return what is counted, as Prometheus reads it."""
        ...


class RunningPool(InferencePool, Protocol):
    """A pool as its owner has it."""

    def start(self) -> None: ...

    def wait_ready(self, timeout_s: float) -> Health:
        """Wait until the pool is ready or has failed, at most so long, and return its health."""
        ...

    def stop(self, drain_s: float = 0.0) -> None:
        """Stop; with `drain_s`, first decode what was submitted, so long at most. What is not done fails."""
        ...
