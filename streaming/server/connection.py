"""One WebSocket connection: audio to its session and events back, until one of them is over."""

import asyncio
from contextlib import suppress
from dataclasses import asdict

from starlette.websockets import WebSocket

from streaming.events import Failed, Reason
from streaming.protocols.dialect import CLOSE_NORMAL, Clear, End, Flush, Speech, Targets, close_code
from streaming.protocols.native import (
    Ack,
    Ready,
    Received,
    Refused,
    Resume,
    ServerMessage,
    parse_client,
    server_message,
)
from streaming.protocols.reading import ProtocolError
from streaming.server.reception import seat
from streaming.server.registry import SessionRegistry
from streaming.server.resumable import ResumableSession, ResumableSessions
from streaming.server.wire import Gone, SlowReaderError, WebSocketWire
from streaming.sessions.request import Refusal, SessionRequest

# How a connection was closed is known at once, or never.
_FAREWELL_S = 1.0


class Connection:
    """It has been let in; `run` it to its end."""

    def __init__(self, socket: WebSocket, registry: SessionRegistry, sessions: ResumableSessions) -> None:
        self._registry, self._limits = registry, registry.limits
        self._wire = WebSocketWire(socket, registry.limits.slow_reader_s)
        self._sessions = sessions
        self._replaced, self._released = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        try:
            session, seen = await self._welcome()
        except Refusal as error:
            await self.refuse(error)
        except Gone:
            pass
        else:
            try:
                await self._hold(session, seen)
            finally:
                self._released.set()

    async def let_go(self) -> None:
        self._replaced.set()
        await self._released.wait()

    async def refuse(self, error: Refusal) -> None:
        """Say why, and close."""
        self._registry.errors[error.reason.value] += 1
        with suppress(Gone, SlowReaderError):
            await self._send(Refused(error.reason, str(error)))
            await self._wire.close(close_code(error.reason), error.reason.value)

    async def _welcome(self) -> tuple[ResumableSession, int]:
        """Hear the hello and find the session; return it with the number of the last event that the client has."""
        message = await self._wire.receive(self._limits.hello_s)
        if message is None:
            raise ProtocolError(
                Reason.HELLO_EXPECTED, f"nothing came for {self._limits.hello_s:g} s; the first message must be hello"
            )
        said = parse_client(message) if isinstance(message, str) else None
        if not isinstance(said, SessionRequest | Resume):
            raise ProtocolError(Reason.HELLO_EXPECTED, "the first message must be hello")
        caller = self._wire.caller
        seat(caller)
        if isinstance(said, SessionRequest):
            return self._sessions.open(said, self, caller.network), 0
        return await self._sessions.resume(said, self), said.seen

    async def _hold(self, session: ResumableSession, seen: int) -> None:
        """Serve the session, and say what becomes of it afterwards."""
        try:
            await self._serve(session, seen)
        except Refusal as error:
            if error.reason is Reason.REPLACED:
                self._sessions.leave(session)
            else:
                self._sessions.drop(session)
            self._released.set()
            await self.refuse(error)
        except SlowReaderError:
            self._registry.errors[Reason.SLOW_READER.value] += 1
            self._sessions.leave(session)
            self._wire.give_up(close_code(Reason.SLOW_READER), Reason.SLOW_READER.value)
        except Gone as gone:
            if gone.is_for_good:
                self._sessions.drop(session)
            else:
                self._sessions.leave(session)
        except BaseException:
            self._sessions.drop(session)
            raise
        else:
            await self._end(session)

    async def _end(self, session: ResumableSession) -> None:
        """All events have been sent."""
        last = session.hosted.log.last
        self._sessions.leave(session)
        if isinstance(last, Failed):
            self._registry.errors[last.reason.value] += 1
        with suppress(Gone, SlowReaderError):
            code = close_code(last.reason) if isinstance(last, Failed) else CLOSE_NORMAL
            await self._wire.close(code, last.reason.value if isinstance(last, Failed) else "ended")

    async def _serve(self, session: ResumableSession, seen: int) -> None:
        """Return when all events of a session that is over have been sent; raise what else comes first."""
        hosted = session.hosted
        limits, targets = asdict(self._registry.client_limits), self._registry.targets(hosted)
        resume_s, voices = self._limits.resume_s, self._registry.speech.languages
        await self._send(Ready(session.name, hosted.received_bytes, hosted.has_end, resume_s, limits, targets, voices))
        writer, reader = asyncio.create_task(self._write(session, seen)), asyncio.create_task(self._read(session))
        tasks = [writer, reader, asyncio.create_task(self._wait_replaced())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writer in done and isinstance(writer.exception(), Gone):
                # Whether the client has left for good is told to those who read, not to those who write.
                done, _ = await asyncio.wait([reader], timeout=_FAREWELL_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        first = writer if writer in done or not done else next(iter(done))
        first.result()

    async def _wait_replaced(self) -> None:
        await self._replaced.wait()
        raise ProtocolError(Reason.REPLACED, "the session goes on in another connection")

    # What the client says

    async def _read(self, session: ResumableSession) -> None:
        # What came by another connection comes first.
        await self._find_room(session)
        while True:
            message = await self._wire.receive(None if session.hosted.has_end else self._limits.idle_s)
            if message is None:
                session.hosted.stop(
                    Reason.IDLE, f"nothing came for {self._limits.idle_s:g} s, neither audio nor a message"
                )
            elif session.hosted.is_stopped:
                continue
            elif isinstance(message, bytes):
                await self._take(session, message)
            else:
                await self._obey(session, message)

    async def _take(self, session: ResumableSession, data: bytes) -> None:
        if len(data) > self._limits.max_message:
            raise ProtocolError(
                Reason.MESSAGE_TOO_BIG, f"got {len(data)} bytes of audio, expected at most {self._limits.max_message}"
            )
        if not data and session.hosted.has_end:
            raise ProtocolError(Reason.AFTER_END, "audio came after the end of the session; open a new one")
        for piece in session.hosted.pieces(data):
            session.hosted.feed(piece)
            await self._find_room(session)

    async def _obey(self, session: ResumableSession, text: str) -> None:
        said = parse_client(text)
        if isinstance(said, SessionRequest | Resume):
            raise ProtocolError(Reason.HELLO_TWICE, "a second hello came; one connection has one session")
        if isinstance(said, Ack):
            session.acknowledge(said.seen)
            return
        if isinstance(said, Flush):
            session.hosted.flush()
        elif isinstance(said, Clear):
            session.hosted.clear()
        elif isinstance(said, Targets):
            self._registry.choose_targets(session.hosted, said.targets)
        elif isinstance(said, Speech):
            self._registry.choose_speech(session.hosted, said.speech)
        elif isinstance(said, End):
            session.hosted.end()
        await self._find_room(session)

    async def _find_room(self, session: ResumableSession) -> None:
        session.news.set()
        await session.hosted.find_room(self._limits.stall_s)

    # What the client is told

    async def _write(self, session: ResumableSession, seen: int) -> None:
        """Tell all events after `seen`; return after the last."""
        n_told = session.hosted.received_bytes
        while True:
            session.news.clear()
            for numbered in session.after(seen):
                await self._send(numbered)
                seen = numbered.seq
            if seen == session.hosted.log.n_appended and session.hosted.log.is_over:
                session.hosted.settle()
                return
            if session.hosted.received_bytes - n_told >= session.bytes_per_receipt:
                n_told = session.hosted.received_bytes
                await self._send(Received(n_told))
            await session.news.wait()

    async def _send(self, message: ServerMessage) -> None:
        await self._wire.send(server_message(message))
