"""uvicorn's WebSocket connection, with endings and limits that it lacks.

A client that does not read would keep a closed connection, and what is queued for it, for ever; and one that is told
off in the middle of a huge message would never read why, because bytes nobody reads reset the connection. Before the
first message nobody may say much, and nobody may make the server keep what is not a whole message for ever.
"""

import asyncio
import codecs
import math
from typing import Any

from starlette.websockets import WebSocket
from uvicorn import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from streaming.events import Reason
from streaming.protocols.dialect import close_code
from streaming.protocols.reading import MAX_CONTROL_BYTES
from streaming.server.doorway import Caller
from streaming.server.security_headers import SECURITY_HEADERS

_KEY = "simul_whisper.websocket"
# What a client has to read the last words, and to close; and after a message that made no sense, once it is silent.
_GRACE_S = 5.0
_QUIET_S = 0.5
# So much may be queued before whoever tells more has to wait.
_MOST_QUEUED_BYTES = 16_384
# The first message is JSON, whose characters take four bytes at most.
_MOST_FIRST_BYTES = 4 * MAX_CONTROL_BYTES
# A message in more pieces, which may be empty, would take more memory than its bytes tell.
_MOST_FRAGMENTS = 1_024
_UTF8 = codecs.getincrementaldecoder("utf-8")


class _Frames(ServerProtocol):
    """What comes, with the limits of a first message until that has come. most_bytes: of one message afterwards."""

    def __init__(self, most_bytes: int, logger: Any) -> None:
        super().__init__(max_size=min(most_bytes, _MOST_FIRST_BYTES), logger=logger)
        self._most_bytes, self._n_fragments = most_bytes, 0
        self._text: codecs.IncrementalDecoder | None = None

    def reject(self, status: Any, text: str) -> Response:
        response = super().reject(status, text)
        response.headers.update(SECURITY_HEADERS)
        return response

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._n_fragments = 0
        elif frame.opcode is Opcode.CONT:
            self._n_fragments += 1
        if self._n_fragments > _MOST_FRAGMENTS:
            raise ProtocolError(f"a message in more than {_MOST_FRAGMENTS} pieces")
        self._check_text(frame)
        super().recv_frame(frame)
        if frame.fin and self._text is not None and frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self.let_speak()

    def let_speak(self) -> None:
        """From now on messages may be as long as they ever may."""
        self.max_message_size = self._most_bytes

    def _check_text(self, frame: Frame) -> None:
        """Raise UnicodeDecodeError for what is no text; uvicorn would log that as a fault of its own."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._text = _UTF8() if frame.opcode is Opcode.TEXT else None
        if self._text is not None and frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._text.decode(frame.data, frame.fin)


class UvicornWebSocket(WebSocketsSansIOProtocol):
    """Never outlives its close by more than the grace. caller: the connection, as it is counted."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        caller: Caller,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _Frames(config.ws_max_size, self.logger)
        self.caller = caller
        self._last_at = math.inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(_MOST_QUEUED_BYTES)
        self.caller.end = self._make_room

    def connection_lost(self, exc: Exception | None) -> None:
        self.caller.leave()
        super().connection_lost(exc)

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
        if self.close_sent and len(self.conn.reader.buffer) > _MOST_FIRST_BYTES:
            # Nobody will read this message, so it need not be kept until it is whole.
            self.conn.fail(close_code(Reason.MESSAGE_TOO_BIG))
        super().data_received(data)

    def handle_ping(self) -> None:
        # Who sends pings and reads no answers gets none.
        answer = b"".join(self.conn.data_to_send())
        if self.transport.get_write_buffer_size() <= _MOST_QUEUED_BYTES:
            self.transport.write(answer)

    def handle_parser_exception(self) -> None:
        closed = self.conn.close_sent
        if closed is None:
            # It was not accepted yet, so there is nothing to close it with.
            self.transport.abort()
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason})
        self._write_last()
        self._abort_later(_QUIET_S)

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        super().on_task_complete(task)
        if self.close_timer is None and not self.disconnected:
            self._abort_later()

    async def send(self, message: Any) -> None:
        if self.close_sent if self.handshake_complete else self.transport.is_closing():
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # uvicorn would log a handshake that was refused as a fault of ours.
            self.handshake_complete = True
        if message["type"] == "websocket.close" and self.close_sent and not self.transport.is_closing():
            self._abort_later()

    def give_up(self, code: int, reason: str) -> None:
        """Close without waiting for what is queued; the client may still read it, for a little while."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(code, reason)
            self._write_last()

    def _make_room(self) -> None:
        """Close at once, and say why if that can be said at once."""
        if self.handshake_complete:
            self.give_up(close_code(Reason.TOO_MANY_CONNECTIONS), Reason.TOO_MANY_CONNECTIONS.value)
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _write_last(self) -> None:
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._abort_later()

    def _abort_later(self, after_s: float = _GRACE_S) -> None:
        """Set the end of the connection anew, but never later than the grace after it was first set."""
        self.caller.free_place()
        loop = asyncio.get_running_loop()
        self._last_at = min(self._last_at, loop.time() + _GRACE_S)
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = loop.call_at(min(self._last_at, loop.time() + after_s), self.transport.abort)


def caller_of(socket: WebSocket) -> Caller:
    """Return the connection, as it is counted."""
    return _websocket_of(socket).caller


def let_speak(socket: WebSocket) -> None:
    """Take long messages from the first on, of a client that was let in by its handshake."""
    frames = _websocket_of(socket).conn
    assert isinstance(frames, _Frames)
    frames.let_speak()


def give_up(socket: WebSocket, code: int, reason: str) -> None:
    """Close the connection of a client that does not read."""
    _websocket_of(socket).give_up(code, reason)


def _websocket_of(socket: WebSocket) -> UvicornWebSocket:
    websocket = socket.scope["extensions"][_KEY]["protocol"]
    assert isinstance(websocket, UvicornWebSocket), "the server must run with ws=UvicornWebSocket"
    return websocket
