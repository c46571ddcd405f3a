"""uvicorn's WebSocket connection, with two endings that it lacks.

A client that does not read would keep a closed connection, and what is queued for it, for ever; and one that is told
off in the middle of a huge message would never read why, because bytes nobody reads reset the connection.
"""

import asyncio
from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

_KEY = "simul_whisper.wire"
# What a client has to read the last words, and to close.
_GRACE_S = 5.0


class Wire(WebSocketsSansIOProtocol):
    """Never outlives its close by more than the grace."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            assert self.scope["extensions"] is not None
            self.scope["extensions"][_KEY] = {"wire": self}

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is not None:
            # Read on, or the reason for the close would be lost with the connection.
            self.conn.receive_data(data)
            return
        super().data_received(data)

    def handle_parser_exception(self) -> None:
        closed = self.conn.close_sent
        assert closed is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason})
        self._write_last()

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        super().on_task_complete(task)
        if self.close_timer is None and not self.disconnected:
            self._abort_later()

    async def send(self, message: Any) -> None:
        if self.close_sent and self.handshake_complete:
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close" and self.close_sent and not self.transport.is_closing():
            self._abort_later()

    def give_up(self, code: int, reason: str) -> None:
        """Close without waiting for what is queued; the client may still read it, for a little while."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(code, reason)
            self._write_last()

    def _write_last(self) -> None:
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._abort_later()

    def _abort_later(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = asyncio.get_running_loop().call_later(_GRACE_S, self.transport.abort)


def give_up(socket: WebSocket, code: int, reason: str) -> None:
    """Close the connection of a client that does not read."""
    wire = socket.scope["extensions"][_KEY]["wire"]
    assert isinstance(wire, Wire), "the server must run with ws=Wire"
    wire.give_up(code, reason)
