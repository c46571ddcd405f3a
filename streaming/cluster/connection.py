"""A line over a connection to another process, here or elsewhere: both ends are ours, so objects are pickled."""

import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from os import dup
from typing import Any

from streaming.cluster.line import Answer, Command, LineLostError

# A replica answers at once; one that loads its model, or runs an inference, may keep all of Python waiting meanwhile.
SILENT_S = 20.0
_LOADING_S = 120.0


class ConnectionLine:
    """A `Line`. silent_s: a replica that owes an answer for so long, once it was ready, is taken for lost."""

    def __init__(self, name: str, connection: "Connection[Any, Any]", silent_s: float = SILENT_S) -> None:
        self._name, self._connection, self._silent_s = name, connection, silent_s
        self.is_ready = self.is_closed = False
        limit_waiting(connection, socket.SO_SNDTIMEO, silent_s)

    @property
    def name(self) -> str:
        return self._name

    def exchange(self, commands: Sequence[Command]) -> Answer:
        """As `Line.exchange`."""
        patience_s = self._silent_s if self.is_ready else max(self._silent_s, _LOADING_S)
        try:
            self._connection.send(list(commands))
            if not self._connection.poll(patience_s):
                raise LineLostError(f"no answer for {patience_s:g} s")
            answer: Answer = self._connection.recv()
        except EOFError as error:
            raise LineLostError("it has ended") from error
        except OSError as error:
            raise LineLostError(error.strerror or str(error)) from error
        self.is_ready |= answer.health.is_ready
        return answer

    def close(self) -> None:
        self.is_closed = True
        with suppress(OSError):
            self._connection.close()


def limit_waiting(connection: "Connection[Any, Any]", option: int, limit_s: float) -> None:
    """Let fail what waits for so long; 0: nothing. option: SO_SNDTIMEO of what is sent, SO_RCVTIMEO of what is read."""
    whole_s = int(limit_s)
    with socket.socket(fileno=dup(connection.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", whole_s, int(1e6 * (limit_s - whole_s))))
