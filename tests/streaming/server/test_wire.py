"""Connections as those who speak through them see them, when something goes wrong with them."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket

from streaming.server import wire
from streaming.server.wire import Gone, WebSocketWire


def test_all_who_want_to_send_hear_that_the_connection_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers and one that tells may both be about to; the second one is no bug."""
    monkeypatch.setattr(wire, "caller_of", lambda _: None)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        if message["type"] != "websocket.accept":
            raise ConnectionResetError

    async def how_each_ends() -> tuple[Any, ...]:
        socket = WebSocket({"type": "websocket"}, receive, send)
        await socket.accept()
        lost = WebSocketWire(socket, 1.0)
        sending = lost.send("a"), lost.send(b"b"), lost.close(1000, "")
        return tuple(await asyncio.gather(*sending, return_exceptions=True))

    assert [type(each) for each in asyncio.run(how_each_ends())] == [Gone, Gone, Gone]
