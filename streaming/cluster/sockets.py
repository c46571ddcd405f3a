"""Lines over TCP: where a replica listens, and how a server gets in. Neither reads anything of who has not got the key.

Nothing is encrypted: it is for networks in which machines trust each other, as Ray's own are.
"""

import logging
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

from streaming.cluster.connection import limit_waiting
from streaming.cluster.line import LineLostError

logger = logging.getLogger(__name__)

_CONNECT_S = 5.0
_KEY_BYTES = 32


@dataclass(frozen=True)
class Whereabouts:
    """Where a replica listens. key: who knows it is let in."""

    name: str
    host: str
    port: int
    key: bytes = field(repr=False)


class Doorway:
    """Lets servers in, each in a thread of its own. serve: has a connection until it closes."""

    def __init__(self, name: str, host: str, serve: Callable[[Connection], None]) -> None:
        """host: the address of this machine at which others reach it. Raises OSError."""
        self._listening = socket.create_server((host, 0), backlog=64)
        self._serve = serve
        self.whereabouts = Whereabouts(name, host, self._listening.getsockname()[1], secrets.token_bytes(_KEY_BYTES))
        threading.Thread(target=self._run, name="doorway", daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more. Who is in stays."""
        with suppress(OSError):
            # On Linux, closing it would leave the thread waiting, and the port open.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _run(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._let_in, args=(_connection(accepted),), name="line", daemon=True).start()

    def _let_in(self, connection: Connection) -> None:
        key = self.whereabouts.key
        try:
            limit_waiting(connection, socket.SO_RCVTIMEO, _CONNECT_S)
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
            limit_waiting(connection, socket.SO_RCVTIMEO, 0)
        except (AuthenticationError, EOFError, OSError) as error:
            logger.warning("somebody was not let in: %s", error)
            connection.close()
            return
        self._serve(connection)


def connected(where: Whereabouts) -> Connection:
    """Return a connection to a replica. Raises LineLostError."""
    try:
        connection = _connection(socket.create_connection((where.host, where.port), _CONNECT_S))
        limit_waiting(connection, socket.SO_RCVTIMEO, _CONNECT_S)
        answer_challenge(connection, where.key)
        deliver_challenge(connection, where.key)
        limit_waiting(connection, socket.SO_RCVTIMEO, 0)
    except BlockingIOError as error:
        raise LineLostError(
            f"replica {where.name} at {where.host}:{where.port} has said nothing for {_CONNECT_S:g} s"
        ) from error
    except (AuthenticationError, EOFError, OSError) as error:
        raise LineLostError(f"replica {where.name} at {where.host}:{where.port} cannot be reached: {error}") from error
    return connection


def _connection(opened: socket.socket) -> Connection:
    opened.settimeout(None)
    # A long message is sent in two, of which the second would wait until the other end has confirmed the first.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(opened.detach())
