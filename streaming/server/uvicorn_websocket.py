"""uvicorn's WebSocket connection, with two endings that it lacks.

A client that does not read would keep a closed connection, and what is queued for it, for ever; and one that is told
off in the middle of a huge message would never read why, because bytes nobody reads reset the connection.
"""

import asyncio
import math
from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

_KEY = "simul_whisper.websocket"
# What a client has to read the last words, and to close; and after a message that made no sense, once it is silent.
_GRACE_S = 5.0
_QUIET_S = 0.5
# So much may be queued before whoever tells more has to wait.
_MOST_QUEUED_BYTES = 16_384


class UvicornWebSocket(WebSocketsSansIOProtocol):
    """Never outlives its close by more than the grace."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(_MOST_QUEUED_BYTES)
        self._last_at = math.inf

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            assert self.scope["extensions"] is not None
            self.scope["extensions"][_KEY] = {"protocol": self}

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is not None:
            # Read on, or the reason for the close would be lost with the connection.
            self.conn.receive_data(data)
            self._abort_later(_QUIET_S)
            return
        super().data_received(data)

    def handle_parser_exception(self) -> None:
        closed = self.conn.close_sent
        assert closed is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason})
        self._write_last()
        self._abort_later(_QUIET_S)

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

    def _abort_later(self, after_s: float = _GRACE_S) -> None:
        """Set the end of the connection anew, but never later than the grace after it was first set."""
        loop = asyncio.get_running_loop()
        self._last_at = min(self._last_at, loop.time() + _GRACE_S)
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = loop.call_at(min(self._last_at, loop.time() + after_s), self.transport.abort)


def give_up(socket: WebSocket, code: int, reason: str) -> None:
    """Close the connection of a client that does not read."""
    websocket = socket.scope["extensions"][_KEY]["protocol"]
    assert isinstance(websocket, UvicornWebSocket), "the server must run with ws=UvicornWebSocket"
    websocket.give_up(code, reason)
