"""What every dialect is made of: what a connection begins with, what clients want, and what is answered.

No I/O, no clock. Whoever carries the messages obeys the commands in their order, hands on the events of the session,
and sends the replies in theirs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from simul_whisper import AlignAttConfig
from streaming.events import Event, Reason
from streaming.sessions.model_choice import ModelOffer, ModelOffers
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import ClientLimits

CLOSE_NORMAL, CLOSE_REFUSED = 1000, 1008
# Come again later (1013), the server goes (1012), it is the server's fault (1011); the rest is the client's (1008).
_CLOSE_CODES = {
    Reason.TOO_MANY_CONNECTIONS: 1013,
    Reason.TOO_MANY_SESSIONS: 1013,
    Reason.NOT_READY: 1013,
    Reason.OVERLOADED: 1013,
    Reason.STOPPING: 1012,
    Reason.MESSAGE_TOO_BIG: 1009,
    Reason.ENGINE: 1011,
    Reason.STOPPED: 1011,
    Reason.INTERNAL: 1011,
}


def close_code(reason: Reason) -> int:
    """Return the WebSocket close code that goes with a reason."""
    return _CLOSE_CODES.get(reason, CLOSE_REFUSED)


# What a connection begins with


@dataclass(frozen=True)
class ServedModel:
    """One of several models. state: loading, ready, unloaded or failed; the rest is as of `Served`."""

    name: str
    languages: tuple[str, ...]
    tasks: tuple[str, ...]
    targets: tuple[str, ...]
    state: str


@dataclass(frozen=True)
class Served:
    """What there is to be had. model: its name, empty before it is ready. aliases: other names that it answers to.

    languages, targets: that are understood, and translated into, by their codes. tasks: as of the model. models: where
    there are several, all of them, the first being `model`; what is told of languages, targets and tasks is then what
    any of them has. by_language: names of models by the codes of the languages that they are there for.
    config: of sessions that ask for nothing. most_message_bytes: of one message of a client. longest_s: after which a
    session is ended. voices: the languages that there is a voice for. most_terms: that a client may have listened for.
    """

    model: str
    aliases: tuple[str, ...]
    languages: tuple[str, ...]
    tasks: tuple[str, ...]
    targets: tuple[str, ...]
    version: str
    most_message_bytes: int = 1 << 20
    longest_s: float = 4 * 3600.0
    voices: tuple[str, ...] = ()
    most_terms: int = ClientLimits.terms
    models: tuple[ServedModel, ...] = ()
    by_language: Mapping[str, str] = field(default_factory=dict)
    config: AlignAttConfig = field(default_factory=AlignAttConfig)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that a client may call a model by, those of the models first."""
        return tuple(name for name in dict.fromkeys((*self._own_names, *self.aliases)) if name)

    def has_model(self, name: str) -> bool:
        return name in self.names

    def own_name(self, name: str | None) -> str:
        """Return the name as a session asks for it: empty for an alias, after which the server chooses."""
        return name if name and name in self._own_names else ""

    def of(self, name: str | None) -> "Served":
        """Return what there is to be had of the model of this name; of an alias, and of none, what there is of any."""
        found = next((each for each in self.models if each.name == name), None)
        if found is None:
            return self
        return replace(self, model=found.name, languages=found.languages, tasks=found.tasks, targets=found.targets)

    def chosen(self, request: SessionRequest) -> str:
        """Return the name of the model that a session will have.

        Raises Refusal for a model that cannot do what another could.
        """
        if not self.models:
            return self.model
        offers = tuple(ModelOffer(each.name, each.languages, each.tasks) for each in self.models)
        config = request.engine_config(self.config)
        return ModelOffers(offers, self.by_language).chosen(request, config).name

    @property
    def _own_names(self) -> tuple[str, ...]:
        return (self.model, *(each.name for each in self.models))


@dataclass(frozen=True)
class Handshake:
    """How a client came. path, query, headers, subprotocols: of a WebSocket, empty elsewhere; names in lower case.

    connection: a name that no other connection has; what a dialect gives names to is named after it. at_s: when it
    came, in seconds since 1970.
    """

    connection: str
    at_s: float
    path: str = ""
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = ()

    def asked(self, name: str) -> str | None:
        """Return the last value of a parameter; None when there is none."""
        return self.query[name][-1] if self.query.get(name) else None


# What a client wants


@dataclass(frozen=True)
class Open:
    """A session. One that goes on is told to its end first: an `End` must have come before."""

    request: SessionRequest


@dataclass(frozen=True)
class Audio:
    """Bytes of the session's format, cut anywhere."""

    data: bytes


@dataclass(frozen=True)
class Flush:
    """Decode what was sent to its end, without ending the session."""


@dataclass(frozen=True)
class Clear:
    """Give up what was sent and is not decoded yet; the session goes on."""


@dataclass(frozen=True)
class Targets:
    """Translate what follows into these languages, by their codes, in place of those before; none of them ends it."""

    targets: tuple[str, ...]


@dataclass(frozen=True)
class Speech:
    """Speak what follows of these texts, in place of those before: targets, or TRANSCRIPT; none of them ends it."""

    speech: tuple[str, ...]


@dataclass(frozen=True)
class End:
    """No audio follows in this session."""


@dataclass(frozen=True)
class Say:
    """Answer at once, whatever the session has still to say."""

    replies: "tuple[Reply, ...]"


Command = Open | Audio | Flush | Clear | Targets | Speech | End | Say

# What is answered


@dataclass(frozen=True)
class Hangup:
    """The connection is closed, with this code and reason where it is a WebSocket. What the session does is over."""

    code: int = CLOSE_NORMAL
    reason: str = ""


Message = str | bytes
Reply = Message | Hangup


@dataclass(frozen=True)
class Denial:
    """A handshake is answered with this status of HTTP and no connection."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


def retry_headers(refusal: Refusal) -> dict[str, str]:
    """Return the header of HTTP that says when to come back; none where nobody knows."""
    wait_s = refusal.retry_after_s
    return {} if wait_s is None else {"retry-after": str(max(1, math.ceil(wait_s)))}


class Dialect:
    """One connection. What is not overridden suits a dialect in which a connection is a session.

    `at_s` is always the time in seconds since the connection was there.
    """

    # What of the offered subprotocols is accepted.
    subprotocol: str | None = None
    # After so long without a message, `hear_quiet` is asked once; None: never.
    quiet_s: float | None = None
    # The samples per second in which it is told what is spoken; None: it is not told.
    speech_rate: int | None = None
    # Whether the handshake asks for a session already, so that it is denied where there is no place for one.
    asks_at_once = False

    def __init__(self, handshake: Handshake, served: Served) -> None:
        """Must not fail: `begin` refuses what is wrong with it."""
        self.handshake, self.served = handshake, served

    def token(self) -> str:
        """Return what the client shows to be let in; empty for nothing."""
        return bearer_token(self.handshake.headers) or self.handshake.asked("token") or ""

    def check(self) -> None:
        """Who shows the right token is about to be let in. Raises Refusal where `deny` has to answer what is wrong."""

    def deny(self, refusal: Refusal) -> Denial | None:  # noqa: ARG002
        """How a handshake is refused; None: it is accepted all the same, and the refusal told."""
        return None

    def begin(self) -> list[Command]:
        """The connection is there. Raises Refusal for a handshake that asks for what cannot be had."""
        return []

    def hear(self, message: Message, at_s: float) -> list[Command]:
        """Read what a client says. Over TCP that is bytes, cut anywhere.

        Raises Refusal; the connection goes on if the replies to that have no `Hangup`.
        """
        raise NotImplementedError

    def hear_quiet(self) -> list[Command]:
        """The client has said nothing for `quiet_s`."""
        return []

    def hear_end(self) -> list[Command]:
        """The client says nothing more, but still reads. Once all was told, the connection is closed."""
        return [End()]

    def tell(self, event: Event, at_s: float) -> list[Reply]:
        """Write what has happened. After `Failed` the connection is closed in any case."""
        raise NotImplementedError

    def tell_all(self, events: Sequence[Event], at_s: float) -> list[Reply]:
        """Write all that has happened since the last time, for dialects that tell some of it in one message."""
        return [reply for event in events for reply in self.tell(event, at_s)]

    def refuse(self, refusal: Refusal) -> list[Reply]:
        """Write why something cannot be had. Without a `Hangup`, what comes next is heard as if nothing had been."""
        return [Hangup(close_code(refusal.reason), refusal.reason.value)]


def bearer_token(headers: Mapping[str, str]) -> str:
    """Return what came as `Authorization: Bearer`; empty for nothing."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
