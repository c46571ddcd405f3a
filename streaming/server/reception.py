"""Who is let in, by a WebSocket or to upload something, whatever they will speak."""

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from streaming.events import Reason
from streaming.server.access import Access
from streaming.server.doorway import Caller
from streaming.server.lifecycle import telling_refusals
from streaming.server.limits import Limits
from streaming.server.registry import SessionRegistry
from streaming.server.uvicorn_websocket import caller_of
from streaming.sessions.request import Refusal
from streaming.tracing import current


class Reception:
    def __init__(self, registry: SessionRegistry, access: Access) -> None:
        self._registry, self._access = registry, access

    def welcome(self, socket: WebSocket, token: str) -> str:
        """Return the name that the token has. Raises Refusal."""
        return self.let_in(socket, caller_of(socket), token)

    def let_in(self, connection: HTTPConnection, caller: Caller, token: str) -> str:
        """Return the name that the token has. Raises Refusal."""
        with telling_refusals():
            name = self._let_in(connection, caller, token)
        current().client = name
        self._registry.connections_by_name[name] += 1
        return name

    def _let_in(self, connection: HTTPConnection, caller: Caller, token: str) -> str:
        caller.comes_from(connection.client.host if connection.client else "")
        if caller.is_over_rate:
            raise over_rate(caller, self._registry.limits)
        if not self._access.knows_host(connection.headers):
            raise Refusal(Reason.HOST, not_called(connection.headers.get("host", "")))
        if not self._access.allows_origin(connection.headers):
            raise Refusal(
                Reason.ORIGIN,
                "this page comes from elsewhere and may not connect; the server can allow it with --origin",
            )
        name = self._access.name_of(token)
        if name is None:
            raise Refusal(Reason.UNAUTHORIZED, "the token is missing or wrong")
        return name


def seat(caller: Caller) -> None:
    """Give somebody who was let in a place. Raises Refusal."""
    with telling_refusals():
        if not caller.take_place():
            raise Refusal(Reason.TOO_MANY_CONNECTIONS, "too many clients are connected; try again later")


def over_rate(caller: Caller, limits: Limits) -> Refusal:
    """Return the refusal of somebody who comes too often."""
    return Refusal(
        Reason.TOO_MANY_CONNECTIONS,
        f"more than {limits.connections_per_minute} connections a minute came from {caller.network}; wait a little",
    )


def not_called(host: str) -> str:
    """Return what is said to somebody who calls the server by a name that it has not."""
    shown = ascii(host)[:80]
    return f"this server is not called {shown}; it can be told to answer to that name with --allowed-host"
