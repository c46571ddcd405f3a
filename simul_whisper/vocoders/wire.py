"""Protocol buffers as they lie in a file: which fields a message has and where, without copies of what they hold."""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
Piece = bytes | memoryview


class Field(NamedTuple):
    """A field of a message. value: of a varint; start, end: of its content; first: where its tag begins."""

    number: int
    kind: int
    value: int
    first: int
    start: int
    end: int


def fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message at data[start:end]. Raises ValueError when it is none."""
    at = start
    while at < end:
        first = at
        tag, at = varint(data, at, end)
        number, kind, value = tag >> 3, tag & 7, 0
        begin = at
        if kind == VARINT:
            value, at = varint(data, at, end)
        elif kind == BYTES:
            length, begin = varint(data, at, end)
            at = begin + length
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at > end:
            raise ValueError("it is cut off")
        yield Field(number, kind, value, first, begin, at)


def message(number: int, *content: Piece) -> list[Piece]:
    """Return a field that holds a message, in pieces, so that what is long need not be copied."""
    return [_as_varint(number << 3 | BYTES) + _as_varint(sum(map(len, content))), *content]


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number and where the next thing begins."""
    value = 0
    for n, byte in enumerate(data[at : min(at + _LONGEST_VARINT, end)]):
        value |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return value, at + n + 1
    raise ValueError("it is cut off")


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
