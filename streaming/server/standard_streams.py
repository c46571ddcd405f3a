"""This process's own input and output as one socket, which an event loop can wait for whatever they are."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_PIECE_BYTES = 65_536
# What the reader of the output has to take the last of it.
_LAST_S = 2.0


@contextmanager
def standard_streams() -> Iterator[socket.socket]:
    """Yield a socket that hears stdin and is heard on stdout, to the end of each.

    Meanwhile stdout is for nobody else: what libraries print goes to stderr.
    """
    output = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    ours, theirs = socket.socketpair()
    saying = threading.Thread(target=_say, args=(theirs, output), daemon=True)
    saying.start()
    threading.Thread(target=_hear, args=(theirs,), daemon=True).start()
    try:
        yield ours
    finally:
        ours.close()
        saying.join(_LAST_S)
        os.dup2(output, _STDOUT)


def _hear(theirs: socket.socket) -> None:
    with suppress(OSError):
        while data := os.read(_STDIN, _PIECE_BYTES):
            theirs.sendall(data)
    with suppress(OSError):
        theirs.shutdown(socket.SHUT_WR)


def _say(theirs: socket.socket, output: int) -> None:
    with suppress(OSError):
        while data := theirs.recv(_PIECE_BYTES):
            while data:
                data = data[os.write(output, data) :]
    # Whoever does not read any more is as good as gone.
    with suppress(OSError):
        theirs.shutdown(socket.SHUT_RDWR)
