"""What a server and a replica, which decodes sessions elsewhere, say to each other. Pure data, but for the protocols.

The server asks and the replica answers, one exchange at a time, so nothing is out of order. A replica that gives no
answer is gone with its sessions: what it had not told is heard again elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from simul_whisper import AlignAttConfig, SimulWhisperError
from streaming.events import Event, Reason
from streaming.sessions.pool import Health
from streaming.settings import VoiceConfig

if TYPE_CHECKING:
    from prometheus_client import Metric


class LineLostError(SimulWhisperError):
    """A replica does not answer any more."""


@dataclass(frozen=True)
class Open:
    """Open a session under this name, which the server has made up.

    again_s: how much audio comes at once that was spoken before, because another replica was lost.
    """

    session: str
    config: AlignAttConfig
    voice: VoiceConfig | None
    drafts: bool
    again_s: float = 0.0


@dataclass(frozen=True)
class Audio:
    """Samples that follow those before: float32 (n,) mono 16 kHz. What there is no room for is not taken.

    Then nothing is done either that follows for the session in the same exchange.
    """

    session: str
    samples: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class Skip:
    """So many samples are lost. As audio, it is not taken as long as there is no room."""

    session: str
    n_samples: int


@dataclass(frozen=True)
class Flush:
    session: str


@dataclass(frozen=True)
class Clear:
    """Give up what was taken and not decoded yet, and the next samples, so many, which will not come."""

    session: str
    n_samples: int = 0


@dataclass(frozen=True)
class ChooseTargets:
    session: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class End:
    """No audio follows."""

    session: str


@dataclass(frozen=True)
class Abandon:
    """Nobody asks for the session any more."""

    session: str


Command = Open | Audio | Skip | Flush | Clear | ChooseTargets | End | Abandon


@dataclass(frozen=True)
class Refused:
    """A session that was asked for cannot be had here."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Report:
    """Of one session: what was told since the answer before, and how many samples were taken in all.

    These count what was skipped and cleared too.
    """

    session: str
    events: tuple[Event, ...]
    n_taken: int
    refused: Refused | None = None


@dataclass(frozen=True)
class Answer:
    """What a replica has to say. waiting_audio_s: of all its sessions, received and not yet decoded.

    is_draining: no session is to be opened here any more. metrics: now and then, and when a session is over; None
    otherwise.
    """

    reports: tuple[Report, ...]
    health: Health
    waiting_audio_s: float = 0.0
    is_draining: bool = False
    metrics: "tuple[Metric, ...] | None" = None


class Line(Protocol):
    """A line to one replica, used by one thread."""

    @property
    def name(self) -> str:
        """The replica's name, for logs and metrics."""
        ...

    def exchange(self, commands: Sequence[Command]) -> Answer:
        """Have the commands carried out in order; return what has happened, or after 30 ms that nothing has.

        Raises LineLostError, after which nothing more can be asked.
        """
        ...

    def close(self) -> None: ...


class Replicas(Protocol):
    """Where replicas come from, and go."""

    def lines(self) -> Mapping[str, Line]:
        """Return a line to every replica that there is at present, by name; the same line while the replica lives."""
        ...

    def close(self) -> None: ...
