"""What we touch of uvicorn's insides is there and is what we take it for: look here first when its bound is raised."""

import asyncio
import inspect
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.server import ServerProtocol

from streaming.server.run import Server
from streaming.server.uvicorn_http import UvicornHttp
from streaming.server.uvicorn_websocket import UvicornWebSocket

MADE = ["self", "config", "server_state", "app_state", "_loop"]
OVERRIDDEN = {
    "__init__": [*MADE, "caller"],
    "connection_lost": ["self", "exc"],
    "handle_ping": ["self"],
    "connection_made": ["self", "transport"],
    "handle_connect": ["self", "event"],
    "data_received": ["self", "data"],
    "handle_parser_exception": ["self"],
    "on_task_complete": ["self", "task"],
    "send": ["self", "message"],
}


OVERRIDDEN_OF_HTTP = {
    "__init__": [*MADE, "doorway", "limits", "uploads"],
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "data_received": ["self", "data"],
    "eof_received": ["self"],
    "handle_events": ["self"],
    "handle_websocket_upgrade": ["self", "event"],
    "on_response_complete": ["self"],
    "timeout_keep_alive_handler": ["self"],
    "shutdown": ["self"],
    "_unsupported_upgrade_warning": ["self"],
}
WEBSOCKET, HTTP = (WebSocketsSansIOProtocol, UvicornWebSocket), (H11Protocol, UvicornHttp)


@pytest.mark.parametrize(
    ("classes", "name", "expected"),
    [
        *((WEBSOCKET, name, expected) for name, expected in OVERRIDDEN.items()),
        *((HTTP, name, expected) for name, expected in OVERRIDDEN_OF_HTTP.items()),
    ],
)
def test_the_methods_that_we_override_are_called_as_we_think(
    classes: tuple[type, type], name: str, expected: list[str]
) -> None:
    theirs, ours = (getattr(each, name) for each in classes)
    added = {"caller", "doorway", "limits", "uploads"}
    assert list(inspect.signature(ours).parameters) == expected
    assert list(inspect.signature(theirs).parameters) == [each for each in expected if each not in added]
    assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(ours) == (name == "send")


@pytest.mark.parametrize(("classes", "expected"), [(WEBSOCKET, OVERRIDDEN), (HTTP, OVERRIDDEN_OF_HTTP)])
def test_we_override_nothing_else(classes: tuple[type, type], expected: dict[str, list[str]]) -> None:
    mine = {name for name, each in vars(classes[1]).items() if inspect.isfunction(each)}
    assert mine & set(dir(classes[0])) == set(expected)


async def _app(scope: Any, receive: Any, send: Any) -> None: ...


def test_a_new_connection_is_in_the_state_that_we_think() -> None:
    async def made() -> WebSocketsSansIOProtocol:
        return WebSocketsSansIOProtocol(uvicorn.Config(_app), ServerState(), {})

    connection = asyncio.run(made())
    flags = ("close_sent", "handshake_complete", "disconnected", "read_paused")
    assert {name: getattr(connection, name) for name in flags} == dict.fromkeys(flags, False)
    assert connection.close_timer is None
    assert isinstance(connection.queue, asyncio.Queue)
    assert isinstance(connection.conn, ServerProtocol)
    assert connection.conn.parser_exc is None
    assert connection.conn.close_sent is None
    for name in ("send_close", "data_to_send", "receive_data"):
        assert callable(getattr(connection.conn, name))
    assert issubclass(ClientDisconnected, Exception)


def test_a_server_can_be_told_to_exit_as_we_do() -> None:
    server = uvicorn.Server(uvicorn.Config(_app))
    assert (server.should_exit, server.force_exit, server.started) == (False, False, False)
    assert list(inspect.signature(uvicorn.Server.startup).parameters) == ["self", "sockets"]
    assert list(inspect.signature(uvicorn.Server.handle_exit).parameters)[1:] == ["sig", "frame"]
    assert {"startup", "handle_exit"} <= set(vars(Server))
