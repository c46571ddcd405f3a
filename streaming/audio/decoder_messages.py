"""What a server and the process that decodes for it say to each other over a socket.

Down: how many bytes a recording has, 0 for a stream, of which nobody knows; then pieces of the container, each with its
length before it; one of no length is the end. Up: a kind, a length, and that many bytes. Orders to the starter of such
processes are one byte and the number of a process, and all of one length. It knows nothing of sockets, containers and
samples.
"""

import struct
from enum import Enum

# A piece, and the most that is said at once: neither side holds more than that of the other's.
PIECE_BYTES = 4_096
MOST_BYTES = 65_536
PIECE_HEADER = struct.Struct("<I")
# How long a recording is, and where in it the next piece is wanted from.
WHOLE, POSITION = struct.Struct("<Q"), struct.Struct("<Q")
MESSAGE_HEADER = struct.Struct("<cI")
ORDER = struct.Struct("<cQ")


class Order(Enum):
    """START: comes with the descriptor of a socket. KILL: also for a process that has ended, or never was."""

    START = b"S"
    KILL = b"K"


class Kind(Enum):
    """SAMPLES: float32, n > 0. HUNGRY: a piece is needed, from this position; in a stream it is the next.

    DONE: nothing follows; notices, one a line. REFUSED: nothing follows, and why.
    """

    SAMPLES = b"S"
    HUNGRY = b"H"
    DONE = b"D"
    REFUSED = b"R"


def piece_message(piece: bytes) -> bytes:
    """piece: at most PIECE_BYTES; empty at the end."""
    assert len(piece) <= PIECE_BYTES
    return PIECE_HEADER.pack(len(piece)) + piece


def message(kind: Kind, content: bytes = b"") -> bytes:
    """content: at most MOST_BYTES."""
    assert len(content) <= MOST_BYTES
    return MESSAGE_HEADER.pack(kind.value, len(content)) + content


def shortened(text: str) -> bytes:
    """Return the text, or as much of it as may be said at once."""
    return text.encode("utf-8", "replace")[:MOST_BYTES]


def message_header(header: bytes) -> tuple[Kind, int]:
    """Return the kind and the length of what follows. Raises ValueError for what is no message."""
    kind, n_bytes = MESSAGE_HEADER.unpack(header)
    if n_bytes > MOST_BYTES:
        raise ValueError(f"got a message of {n_bytes} bytes, expected at most {MOST_BYTES}")
    return Kind(kind), n_bytes
