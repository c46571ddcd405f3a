"""Binary messages of the native protocol: the sound of an event behind a header that says what it is. Pure.

docs/protocols/native.md describes them byte by byte.
"""

import json
import struct
from typing import Any

from streaming.events import Reason, Spoken
from streaming.protocols.reading import ProtocolError

_VERSION = 1
_TYPE = "spoken"
# Version of the header, and its length in bytes, which is even, as samples want it.
_LENGTHS = struct.Struct("<II")
_MOST_RATE = 192_000
_FIELDS = ("target", "text", "rate", "source_start_s", "source_end_s", "is_last", "utterance")


def sound_bytes(seq: int, spoken: Spoken) -> bytes:
    """Write a sound, with times to the millisecond. seq: the number of the event."""
    said = {name: getattr(spoken, name) for name in _FIELDS}
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in said.items()}
    header = json.dumps({"type": _TYPE, "seq": seq, **rounded}).encode()
    header += b" " * (len(header) % 2)
    return _LENGTHS.pack(_VERSION, len(header)) + header + spoken.pcm


def parse_sound(data: bytes) -> tuple[int, Spoken | None] | None:
    """Read what a server sends: the number of the event, and the event, None for one of a type unknown here.

    None for another version of the header. Raises ProtocolError when it is damaged.
    """
    try:
        version, n_header = _LENGTHS.unpack_from(data)
        if version != _VERSION:
            return None
        said, pcm = json.loads(data[_LENGTHS.size : _LENGTHS.size + n_header]), data[_LENGTHS.size + n_header :]
        if len(data) < _LENGTHS.size + n_header or len(pcm) % 2:
            raise ValueError("it breaks off")
        seq = _checked_number(said["seq"], 1, 1 << 53)
        if said["type"] != _TYPE:
            return seq, None
        rate = _checked_number(said["rate"], 1, _MOST_RATE)
        return seq, Spoken(pcm=pcm, **{**{name: said[name] for name in _FIELDS}, "rate": rate})
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        message = f"got {len(data)} bytes that are no sound of protocol version {_VERSION}: {error}"
        raise ProtocolError(Reason.BAD_JSON, message) from error


def _checked_number(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"got {value!r}, expected {low} to {high}")
    return value
