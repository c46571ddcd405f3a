"""One WebSocket connection: audio to its session and events back, until one of them is over.

Time limits are anyio's: before Python 3.12, `asyncio.wait_for` swallows a cancellation that comes with its result.
"""

import asyncio
from contextlib import suppress
from typing import Any

from anyio import fail_after, move_on_after
from starlette.websockets import WebSocket, WebSocketDisconnect

from streaming.events import Failed
from streaming.protocols.native import (
    CLOSE_NORMAL,
    Ack,
    Code,
    End,
    Flush,
    Hello,
    ProtocolError,
    Ready,
    Received,
    Refused,
    Resume,
    ServerMessage,
    close_code,
    parse_client,
    server_text,
)
from streaming.server.registry import SessionRegistry
from streaming.server.resumable import ResumableSession
from streaming.server.uvicorn_websocket import give_up

# Whoever closes like this does not come back; any other end is an accident.
_LEFT_FOR_GOOD = (1000, 1001, 1002, 1003, 1007, 1009)
_MOST_REASON_BYTES = 123


class _Gone(Exception):  # noqa: N818
    """The connection is lost, or closed by the client."""

    def __init__(self, code: int) -> None:
        self.is_for_good = code in _LEFT_FOR_GOOD


class _SlowReaderError(Exception):
    pass


class Connection:
    """It has been let in; `run` it to its end."""

    def __init__(self, socket: WebSocket, registry: SessionRegistry) -> None:
        self._socket, self._registry, self._limits = socket, registry, registry.limits
        self._replaced, self._released = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        try:
            session, seen = await self._welcome()
        except ProtocolError as error:
            await self.refuse(error)
        except _Gone:
            pass
        else:
            try:
                await self._hold(session, seen)
            finally:
                self._released.set()

    async def let_go(self) -> None:
        self._replaced.set()
        await self._released.wait()

    async def refuse(self, error: ProtocolError) -> None:
        """Say why, and close."""
        self._registry.errors[error.code] += 1
        with suppress(_Gone, _SlowReaderError):
            await self._send(Refused(error.code, str(error)))
            await self._close(close_code(error.code), error.code)

    async def _welcome(self) -> tuple[ResumableSession, int]:
        """Hear the hello and find the session; return it with the number of the last event that the client has."""
        message = await self._receive(self._limits.hello_s)
        if message is None:
            raise ProtocolError(Code.HELLO_EXPECTED, f"got nothing for {self._limits.hello_s:g} s, expected hello")
        said = parse_client(message) if isinstance(message, str) else None
        if isinstance(said, Hello):
            return self._registry.open(said, self), 0
        if isinstance(said, Resume):
            return await self._registry.resume(said, self), said.seen
        raise ProtocolError(Code.HELLO_EXPECTED, f"got {type(said).__name__ if said else 'audio'}, expected hello")

    async def _hold(self, session: ResumableSession, seen: int) -> None:
        """Serve the session, and say what becomes of it afterwards."""
        try:
            await self._serve(session, seen)
        except ProtocolError as error:
            if error.code == Code.REPLACED.value:
                self._registry.leave(session)
            else:
                self._registry.drop(session)
            self._released.set()
            await self.refuse(error)
        except _SlowReaderError:
            self._registry.errors[Code.SLOW_READER.value] += 1
            self._registry.leave(session)
            give_up(self._socket, close_code(Code.SLOW_READER.value), Code.SLOW_READER.value)
        except _Gone as gone:
            if gone.is_for_good:
                self._registry.drop(session)
            else:
                self._registry.leave(session)
        except BaseException:
            self._registry.drop(session)
            raise
        else:
            await self._end(session)

    async def _end(self, session: ResumableSession) -> None:
        """All events have been sent."""
        last = session.last
        self._registry.leave(session)
        if isinstance(last, Failed):
            self._registry.errors[last.code] += 1
        with suppress(_Gone, _SlowReaderError):
            code = close_code(last.code) if isinstance(last, Failed) else CLOSE_NORMAL
            await self._close(code, last.code if isinstance(last, Failed) else "ended")

    async def _serve(self, session: ResumableSession, seen: int) -> None:
        """Return when all events of a session that is over have been sent; raise what else comes first."""
        await self._send(Ready(session.name, session.received_bytes, session.has_end, self._limits.resume_s))
        writer = asyncio.create_task(self._write(session, seen))
        tasks = [writer, asyncio.create_task(self._read(session)), asyncio.create_task(self._wait_replaced())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        first = writer if writer in done else next(iter(done))
        first.result()

    async def _wait_replaced(self) -> None:
        await self._replaced.wait()
        raise ProtocolError(Code.REPLACED, "the session goes on in another connection")

    # What the client says

    async def _read(self, session: ResumableSession) -> None:
        while True:
            message = await self._receive(None if session.has_end else self._limits.idle_s)
            if message is None:
                session.stop(Code.IDLE, f"got nothing for {self._limits.idle_s:g} s, expected audio or a message")
            elif session.is_stopped:
                continue
            elif isinstance(message, bytes):
                await self._take(session, message)
            else:
                await self._obey(session, message)

    async def _take(self, session: ResumableSession, data: bytes) -> None:
        if len(data) > self._limits.max_message:
            raise ProtocolError(
                Code.MESSAGE_TOO_BIG, f"got {len(data)} bytes of audio, expected at most {self._limits.max_message}"
            )
        if not data and session.has_end:
            raise ProtocolError(Code.AFTER_END, "got audio after the end, expected a new session")
        for piece in session.pieces(data):
            session.feed(piece)
            await self._find_room(session)

    async def _obey(self, session: ResumableSession, text: str) -> None:
        said = parse_client(text)
        if isinstance(said, Hello | Resume):
            raise ProtocolError(Code.HELLO_TWICE, "got a second hello, expected audio")
        if isinstance(said, Ack):
            session.acknowledge(said.seen)
            return
        if isinstance(said, Flush):
            session.flush()
        elif isinstance(said, End):
            session.end()
        await self._find_room(session)

    async def _find_room(self, session: ResumableSession) -> None:
        """Wait until what was taken has been handed on; meanwhile nothing is read, and the client has to wait."""
        session.news.set()
        while session.is_full:
            session.room.clear()
            try:
                with fail_after(self._limits.stall_s):
                    await session.room.wait()
            except TimeoutError as error:
                message = f"got no room for audio for {self._limits.stall_s:g} s; try again later"
                raise ProtocolError(Code.OVERLOADED, message) from error

    async def _receive(self, timeout_s: float | None) -> str | bytes | None:
        """Return what came; None when nothing did for so long. Raises _Gone."""
        message: Any = None
        with move_on_after(timeout_s):
            message = await self._socket.receive()
        if message is None:
            return None
        if message["type"] == "websocket.disconnect":
            raise _Gone(message.get("code", 1006))
        text: str | None = message.get("text")
        return bytes(message["bytes"]) if text is None else text

    # What the client is told

    async def _write(self, session: ResumableSession, seen: int) -> None:
        """Tell all events after `seen`; return after the last."""
        n_told = session.received_bytes
        while True:
            session.news.clear()
            session.collect()
            for numbered in session.after(seen):
                await self._send(numbered)
                seen = numbered.seq
                session.sent(seen)
            if session.last:
                return
            if session.received_bytes - n_told >= session.bytes_per_receipt:
                n_told = session.received_bytes
                await self._send(Received(n_told))
            await session.news.wait()

    async def _send(self, message: ServerMessage) -> None:
        await self._within_patience(self._socket.send_text(server_text(message)))

    async def _close(self, code: int, reason: str) -> None:
        short = reason.encode()[:_MOST_REASON_BYTES].decode(errors="ignore")
        await self._within_patience(self._socket.close(code, short))

    async def _within_patience(self, sending: Any) -> None:
        """Raises _SlowReaderError when the client does not read, and _Gone when it has gone."""
        try:
            with fail_after(self._limits.slow_reader_s):
                await sending
        except TimeoutError as error:
            raise _SlowReaderError from error
        except WebSocketDisconnect as error:
            raise _Gone(error.code) from error
