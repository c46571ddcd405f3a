"""Wyoming's events on the wire: a line of JSON, then data as JSON, then a payload. Pure.

A line may tell the length of the data and of the payload that follow it; data may stand in the line itself, too.
Source: `wyoming.event` of the package wyoming 1.10.2.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from streaming.events import Reason
from streaming.protocols.reading import MAX_CONTROL_BYTES, parse_object, refuse, shown

# The release of the protocol that was read.
_VERSION = "1.10.2"
# Names that a recogniser is to know may be many.
_MOST_DATA_BYTES = 262_144


@dataclass(frozen=True)
class WyomingEvent:
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""


def event_bytes(kind: str, data: Mapping[str, Any] | None = None) -> bytes:
    """Write an event without a payload."""
    written = json.dumps(data).encode() if data else b""
    length = {"data_length": len(written)} if written else {}
    return json.dumps({"type": kind, "version": _VERSION, **length}).encode() + b"\n" + written


@dataclass(frozen=True)
class _Head:
    """What a line says. n_bytes: of the line, with its end."""

    type: str
    data: Mapping[str, Any]
    n_bytes: int
    data_bytes: int
    payload_bytes: int


class EventReader:
    """Bytes in, however they are cut; events out. It keeps one unfinished event at most.

    most_payload_bytes: of one event.
    """

    def __init__(self, most_payload_bytes: int) -> None:
        self._most_payload_bytes = most_payload_bytes
        self._unread = bytearray()
        self._head: _Head | None = None

    def feed(self, data: bytes) -> Iterator[WyomingEvent]:
        """Yield the events that are complete. Raises ProtocolError, after which nothing more can be read."""
        self._unread += data
        while event := self._next():
            yield event

    def _next(self) -> WyomingEvent | None:
        head = self._head = self._head or self._read_head()
        if head is None:
            return None
        data_end = head.n_bytes + head.data_bytes
        end = data_end + head.payload_bytes
        if len(self._unread) < end:
            return None
        data, payload = bytes(self._unread[head.n_bytes : data_end]), bytes(self._unread[data_end:end])
        del self._unread[:end]
        self._head = None
        more = parse_object(_text(data), _MOST_DATA_BYTES) if data else {}
        return WyomingEvent(head.type, {**head.data, **more}, payload)

    def _read_head(self) -> _Head | None:
        line_end = self._unread.find(b"\n", 0, MAX_CONTROL_BYTES)
        if line_end < 0:
            if len(self._unread) >= MAX_CONTROL_BYTES:
                refuse(Reason.MESSAGE_TOO_BIG, f"got no end of line within {MAX_CONTROL_BYTES} bytes")
            return None
        said = parse_object(_text(bytes(self._unread[:line_end])))
        kind, data = said.get("type"), said.get("data")
        if not isinstance(kind, str):
            refuse(Reason.UNKNOWN_TYPE, f"got an event of type {shown(kind)}, expected a name such as describe")
        if not isinstance(data, dict | None):
            refuse(Reason.BAD_VALUE, f"got data {shown(data)}, expected an object")
        data_bytes = _length(said, "data_length", _MOST_DATA_BYTES)
        payload_bytes = _length(said, "payload_length", self._most_payload_bytes)
        return _Head(kind, data or {}, line_end + 1, data_bytes, payload_bytes)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        refuse(Reason.BAD_JSON, f"got {shown(data)}, expected JSON in UTF-8")


def _length(said: Mapping[str, Any], name: str, most: int) -> int:
    length = said.get(name)
    if length is None:
        return 0
    if type(length) is not int or length < 0:
        refuse(Reason.BAD_VALUE, f"got {name} {shown(length)}, expected a whole number from 0")
    if length > most:
        refuse(Reason.MESSAGE_TOO_BIG, f"got {name} {length}, expected at most {most}")
    return length
