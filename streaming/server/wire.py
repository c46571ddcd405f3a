"""A connection as those who speak through it see it: messages in and out, and an end to patience.

Time limits are anyio's: before Python 3.12, `asyncio.wait_for` swallows a cancellation that comes with its result.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Protocol

from anyio import fail_after, move_on_after
from starlette.websockets import WebSocket, WebSocketDisconnect

from streaming.server.doorway import Caller
from streaming.server.uvicorn_websocket import caller_of, give_up

# Whoever closes like this does not come back; any other end is an accident.
_LEFT_FOR_GOOD = (1000, 1001, 1002, 1003, 1007, 1009)
_MOST_REASON_BYTES = 123
# As much is read at once as is heard in a few milliseconds, whatever it says: others wait meanwhile.
_PIECE_BYTES = 4_096
_MOST_QUEUED_BYTES = 16_384
# What a client has to read the last words, before bytes that nobody reads reset the connection.
_GRACE_S = 2.0


class Gone(Exception):  # noqa: N818
    """The connection is lost, or closed by the client. still_reads: it says nothing more, but hears what it is told."""

    def __init__(self, *, is_for_good: bool, still_reads: bool = False) -> None:
        self.is_for_good, self.still_reads = is_for_good, still_reads


class SlowReaderError(Exception):
    """The client does not read what it is told."""


class Wire(Protocol):
    """One connection, whatever carries it. caller: the connection, as it is counted."""

    caller: Caller

    async def receive(self, timeout_s: float | None) -> str | bytes | None:
        """Return what came; None when nothing did for so long. Raises Gone."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Raises SlowReaderError, and Gone."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close it, with a reason where there is a place for one. Raises SlowReaderError, and Gone."""
        ...

    def give_up(self, code: int, reason: str) -> None:
        """Close it without waiting for what is queued."""
        ...


class WebSocketWire:
    """A WebSocket that was accepted. patience_s: how long the client may leave what it is told unread."""

    def __init__(self, socket: WebSocket, patience_s: float) -> None:
        self._socket, self._patience_s = socket, patience_s
        self.caller = caller_of(socket)

    async def receive(self, timeout_s: float | None) -> str | bytes | None:
        message: Any = None
        with move_on_after(timeout_s):
            message = await self._socket.receive()
        if message is None:
            return None
        if message["type"] == "websocket.disconnect":
            raise Gone(is_for_good=message.get("code", 1006) in _LEFT_FOR_GOOD)
        text: str | None = message.get("text")
        return bytes(message["bytes"]) if text is None else text

    async def send(self, message: str | bytes) -> None:
        socket = self._socket
        sending = socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message)
        await self._within_patience(sending)

    async def close(self, code: int, reason: str) -> None:
        short = reason.encode()[:_MOST_REASON_BYTES].decode(errors="ignore")
        await self._within_patience(self._socket.close(code, short))

    def give_up(self, code: int, reason: str) -> None:
        give_up(self._socket, code, reason)

    async def _within_patience(self, sending: Awaitable[None]) -> None:
        try:
            with fail_after(self._patience_s):
                await sending
        except TimeoutError as error:
            raise SlowReaderError from error
        except WebSocketDisconnect as error:
            raise Gone(is_for_good=error.code in _LEFT_FOR_GOOD) from error


class StreamWire:
    """Bytes both ways, as over TCP: what is received is cut anywhere. The client may close its half first."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: Caller, patience_s: float
    ) -> None:
        self._reader, self._writer, self.caller, self._patience_s = reader, writer, caller, patience_s
        writer.transport.set_write_buffer_limits(_MOST_QUEUED_BYTES)

    async def receive(self, timeout_s: float | None) -> bytes | None:
        data: bytes | None = None
        with move_on_after(timeout_s):
            try:
                data = await self._reader.read(_PIECE_BYTES)
            except OSError as error:
                raise Gone(is_for_good=True) from error
        if data == b"":
            raise Gone(is_for_good=True, still_reads=True)
        return data

    async def send(self, message: str | bytes) -> None:
        try:
            with fail_after(self._patience_s):
                self._writer.write(message.encode() if isinstance(message, str) else message)
                await self._writer.drain()
        except TimeoutError as error:
            raise SlowReaderError from error
        except OSError as error:
            raise Gone(is_for_good=True) from error

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002
        """Say nothing more, once all is on its way; there is no place for a reason. `linger` before it is given up."""
        self._writer.transport.set_write_buffer_limits(0)
        await self.send(b"")
        try:
            self._writer.write_eof()
        except OSError as error:
            raise Gone(is_for_good=True) from error

    async def linger(self) -> None:
        """Let a client that was told all read it: what it still says is passed over. Nobody else may receive."""
        self.caller.free_place()
        with move_on_after(_GRACE_S), suppress(OSError):
            while await self._reader.read(_PIECE_BYTES):
                pass

    def give_up(self, code: int, reason: str) -> None:  # noqa: ARG002
        self._writer.transport.abort()
