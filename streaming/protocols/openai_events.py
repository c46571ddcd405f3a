"""What OpenAI's Realtime dialects have in common: events both ways, errors after which they go on, base64, and keys.

Source of the formats: the types of the `openai` package for Python, openai/types/realtime.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from streaming.events import Failed, Reason
from streaming.protocols.dialect import (
    Command,
    Denial,
    Dialect,
    Handshake,
    Message,
    Reply,
    Served,
    close_code,
    retry_headers,
)
from streaming.protocols.reading import MAX_CONTROL_BYTES, ProtocolError, parse_object, shown
from streaming.sessions.request import Refusal

# Browsers can set no header, and show their key as a subprotocol beside this one.
_SUBPROTOCOL, _KEY_PREFIX = "realtime", "openai-insecure-api-key."
_DENIALS = {
    Reason.UNAUTHORIZED: (401, "invalid_api_key"),
    Reason.TOO_MANY_CONNECTIONS: (429, "rate_limit_exceeded"),
    Reason.TOO_MANY_SESSIONS: (429, "rate_limit_exceeded"),
    Reason.HOST: (403, "host"),
    Reason.ORIGIN: (403, "origin"),
}
# Long messages are audio: base64 has none of these.
_STRUCTURE, _MOST_STRUCTURE = "{[,:", 64
_MOST_ID_CHARS = 512


class EventError(ProtocolError):
    """An event of the client that cannot be obeyed. param: the key it is about; code: as the service calls it."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(Reason.BAD_VALUE, message)
        self.param, self.code = param, code


def error_object(refusal: Refusal, event_id: str | None = None) -> dict[str, Any]:
    """Return an error as the service writes it."""
    is_ours = close_code(refusal.reason) in (1011, 1012, 1013)
    code, param = refusal.reason.value, None
    if isinstance(refusal, EventError):
        code, param = refusal.code, refusal.param
    return {
        "type": "server_error" if is_ours else "invalid_request_error",
        "code": code,
        "message": str(refusal),
        "param": param,
        "event_id": event_id,
        # Not of the service's: other clients pass over it.
        **({} if refusal.retry_after_s is None else {"retry_after_s": round(refusal.retry_after_s, 1)}),
    }


class RealtimeDialect(Dialect):
    """JSON both ways. A subclass has the `handlers` of the events that a client may send, by their types."""

    def __init__(self, handshake: Handshake, served: Served) -> None:
        super().__init__(handshake, served)
        self.subprotocol = _SUBPROTOCOL if _SUBPROTOCOL in handshake.subprotocols else None
        self._n_events = 0
        # That of the event of the client which is being read, for the error that it may bring.
        self._event_id: str | None = None

    @property
    def handlers(self) -> Mapping[str, Callable[[dict[str, Any]], list[Command]]]:
        raise NotImplementedError

    def token(self) -> str:
        keys = [each.removeprefix(_KEY_PREFIX) for each in self.handshake.subprotocols if each.startswith(_KEY_PREFIX)]
        return super().token() or (keys[0] if keys else "")

    def deny(self, refusal: Refusal) -> Denial | None:
        status, code = _DENIALS.get(refusal.reason, (503, refusal.reason.value))
        body = json.dumps({"error": {**error_object(refusal), "code": code}})
        return Denial(status, body, {"content-type": "application/json", **retry_headers(refusal)})

    def check_model(self) -> None:
        """Raise EventError for a model that the client names in its address and that is not served."""
        name = self.handshake.asked("model")
        if name:
            checked_model(name, self.served, "model")

    def hear(self, message: Message, at_s: float) -> list[Command]:  # noqa: ARG002
        self._event_id = None
        if not isinstance(message, str):
            raise EventError("got bytes, expected JSON as text, with audio as base64 in it", code="invalid_json")
        if len(message) > MAX_CONTROL_BYTES and sum(map(message.count, _STRUCTURE)) > _MOST_STRUCTURE:
            raise EventError(
                f"got {len(message)} characters of JSON, expected at most {MAX_CONTROL_BYTES} beside audio"
            )
        event = parse_object(message, self.served.most_message_bytes)
        event_id = event.pop("event_id", None)
        if event_id is not None and (not isinstance(event_id, str) or len(event_id) > _MOST_ID_CHARS):
            raise EventError(f"got {shown(event_id)}, expected text of at most {_MOST_ID_CHARS} characters", "event_id")
        self._event_id = event_id
        kind = event.pop("type", None)
        if not isinstance(kind, str) or kind not in self.handlers:
            raise EventError(f"got type {shown(kind)}, expected one of {', '.join(self.handlers)}", "type")
        commands = self.handlers[kind](event)
        self._event_id = None
        return commands

    def refuse(self, refusal: Refusal) -> list[Reply]:
        """Only what a client has said wrongly leaves the connection as it was."""
        event_id, self._event_id = self._event_id, None
        told = self.event("error", error=error_object(refusal, event_id))
        ends = [] if isinstance(refusal, ProtocolError) else super().refuse(refusal)
        return [told, *ends]

    def told_failure(self, event: Failed) -> list[Reply]:
        """The session is over, by an error that no event of the client has brought."""
        return [self.event("error", error=error_object(Refusal(event.reason, event.message)))]

    def event(self, kind: str, **values: Any) -> str:
        """Write an event of the server."""
        self._n_events += 1
        event_id = f"event_{self.handshake.connection}_{self._n_events}"
        return json.dumps({"type": kind, "event_id": event_id, **values})

    def expires_at(self) -> int:
        """Return when a session that begins now is ended, in seconds since 1970."""
        return int(self.handshake.at_s + self.served.longest_s)


def audio_bytes(event: Mapping[str, Any]) -> bytes:
    """Return the audio of an append. Raises EventError for what is not base64."""
    check_keys(event, ("audio",), "")
    audio = event.get("audio")
    if not isinstance(audio, str):
        raise EventError(f"got {shown(audio)}, expected audio as base64", "audio")
    try:
        return base64.b64decode(audio, validate=True)
    except ValueError as error:
        raise EventError(f"got {shown(audio)}, expected base64: {shown(str(error))}", "audio") from error


def checked_model(name: Any, served: Served, param: str) -> str:
    """Raise EventError for the name of a model that is not served."""
    if not isinstance(name, str) or (served.model and not served.has_model(name)):
        known = ", ".join(served.names)
        raise EventError(f"got model {shown(name)}, expected one of {known}", param, "model_not_found")
    return name


def section(values: Mapping[str, Any], name: str, param: str) -> dict[str, Any]:
    """Return an object inside another; a missing one, and null, is empty. Raises EventError."""
    found = values.get(name)
    if found is not None and not isinstance(found, dict):
        raise EventError(
            f"got {shown(found)}, expected an object", f"{param}.{name}" if param else name, "invalid_type"
        )
    return found or {}


def check_keys(values: Mapping[str, Any], known: tuple[str, ...], param: str) -> None:
    """Raise EventError for a key that is not known here: a setting that does nothing would deceive."""
    unknown = next((key for key in values if key not in known), None)
    if unknown is not None:
        name = shown(unknown).strip("'")
        where = f"{param}.{name}" if param else name
        raise EventError(f"got {where}, expected {' or '.join(known) or 'nothing else'}", where, "unknown_parameter")
