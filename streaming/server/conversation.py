"""A connection that speaks a dialect: what the client says becomes commands to its session, what happens is told."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from streaming.audio.pcm import resampled
from streaming.events import Event, Failed, Reason, Spoken
from streaming.protocols.dialect import (
    CLOSE_NORMAL,
    Audio,
    Clear,
    Command,
    Dialect,
    End,
    Flush,
    Hangup,
    Open,
    Reply,
    Say,
    Speech,
    Targets,
    close_code,
)
from streaming.server.hosted import HostedSession
from streaming.server.log_reader import LogReader
from streaming.server.reception import seat
from streaming.server.registry import SessionRegistry
from streaming.server.wire import Gone, SlowReaderError, Wire
from streaming.sessions.event_log import EventFilter, LogGapError
from streaming.sessions.request import Refusal

logger = logging.getLogger(__name__)

# How a connection was closed is known at once, or never.
_FAREWELL_S = 1.0


class _HungUp(Exception):  # noqa: N818
    """The dialect has closed the connection."""


class _Session:
    """A session of the connection, and how far it has been told."""

    def __init__(self, hosted: HostedSession, *, hears_speech: bool) -> None:
        self.hosted = hosted
        self.reader = LogReader(hosted.log, EventFilter(speech=hears_speech))
        self.is_told = asyncio.Event()


class Conversation:
    """It has been let in; `run` it to its end. One session at a time, any number after one another.

    first_s: within which the first message must come. is_patient: without a session, the client may be silent for ever.
    """

    def __init__(
        self, wire: Wire, dialect: Dialect, registry: SessionRegistry, first_s: float, *, is_patient: bool = False
    ) -> None:
        self._wire, self._dialect, self._registry, self._limits = wire, dialect, registry, registry.limits
        self._first_s, self._is_patient = first_s, is_patient
        self._session: _Session | None = None
        self._opened = asyncio.Event()
        # Answers and events do not interrupt each other.
        self._turn = asyncio.Lock()
        self._is_hung_up = False
        self._began_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        try:
            await self._converse()
        except (Gone, _HungUp):
            pass
        except Refusal as error:
            await self.refuse(error)
        except SlowReaderError:
            self._registry.errors[Reason.SLOW_READER.value] += 1
            self._wire.give_up(close_code(Reason.SLOW_READER), Reason.SLOW_READER.value)
        except Exception:
            logger.exception("a connection has failed")
            await self.refuse(Refusal(Reason.INTERNAL, "the server has a bug; its log says more"))
        finally:
            if self._session:
                self._close(self._session)

    async def refuse(self, error: Refusal) -> None:
        """Say why, and close."""
        self._registry.errors[error.reason.value] += 1
        with suppress(Gone, SlowReaderError, _HungUp):
            await self._say([*self._dialect.refuse(error), Hangup(close_code(error.reason), error.reason.value)])

    async def _converse(self) -> None:
        listening, telling = asyncio.create_task(self._listen()), asyncio.create_task(self._tell())
        tasks = [listening, telling]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if telling in done and isinstance(telling.exception(), Gone):
                # What a client says while it leaves comes to those who listen, not to those who tell.
                await asyncio.wait([listening], timeout=_FAREWELL_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        first = telling if telling in done else listening
        first.result()

    # What the client says

    async def _listen(self) -> None:
        await self._obey(self._dialect.begin())
        timeout_s = self._first_s
        try:
            while True:
                message = await self._receive(timeout_s)
                if message is None:
                    self._end_silence(timeout_s)
                elif not (self._session and self._session.hosted.is_stopped):
                    await self._hear(message)
                    # Whoever says much at once, and reads all answers, would leave others no turn.
                    await asyncio.sleep(0)
                timeout_s = self._limits.idle_s
        except Gone as gone:
            if not gone.still_reads:
                raise
        await self._obey(self._dialect.hear_end())
        if self._session:
            await self._session.is_told.wait()
        await self._wire.close(CLOSE_NORMAL, "")

    async def _receive(self, timeout_s: float | None) -> str | bytes | None:
        """Return what comes; None when nothing does for so long."""
        quiet_s = self._dialect.quiet_s
        if quiet_s is None or (timeout_s is not None and quiet_s >= timeout_s):
            return await self._wire.receive(timeout_s)
        message = await self._wire.receive(quiet_s)
        if message is not None:
            return message
        if not (self._session and self._session.hosted.is_stopped):
            await self._obey(self._dialect.hear_quiet())
        return await self._wire.receive(None if timeout_s is None else timeout_s - quiet_s)

    def _end_silence(self, timeout_s: float) -> None:
        message = f"nothing came for {timeout_s:g} s, neither audio nor a message"
        if self._session is None or self._session.hosted.log.is_over:
            if not self._is_patient:
                raise Refusal(Reason.IDLE, message)
        elif not self._session.hosted.has_end:
            self._session.hosted.stop(Reason.IDLE, message)

    async def _hear(self, message: str | bytes) -> None:
        if len(message) > self._dialect.served.most_message_bytes:
            most, unit = self._dialect.served.most_message_bytes, "characters" if isinstance(message, str) else "bytes"
            raise Refusal(Reason.MESSAGE_TOO_BIG, f"got a message of {len(message)} {unit}, expected at most {most}")
        try:
            commands = self._dialect.hear(message, self._at_s)
        except Refusal as refusal:
            replies = self._dialect.refuse(refusal)
            self._registry.errors[refusal.reason.value] += 1
            await self._say(replies)
            return
        await self._obey(commands)

    async def _obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Say):
                await self._say(command.replies)
            elif isinstance(command, Open):
                await self._open(command)
            elif self._session:
                await self._pass_on(command, self._session.hosted)
            else:
                assert isinstance(command, End), "the dialect has opened no session"

    async def _open(self, command: Open) -> None:
        if self._session:
            await self._session.is_told.wait()
        if self._wire.caller.is_gone:
            raise Gone(is_for_good=False)
        seat(self._wire.caller)
        hosted = self._registry.open(command.request, self._wire.caller.network)
        self._session = _Session(hosted, hears_speech=self._dialect.speech_rate is not None)
        self._opened.set()

    async def _pass_on(self, command: Command, hosted: HostedSession) -> None:
        if isinstance(command, Audio):
            for piece in hosted.pieces(command.data):
                hosted.feed(piece)
                await hosted.find_room(self._limits.stall_s)
            return
        if isinstance(command, Flush):
            hosted.flush()
        elif isinstance(command, Clear):
            hosted.clear()
        elif isinstance(command, Targets):
            self._registry.choose_targets(hosted, command.targets)
        elif isinstance(command, Speech):
            self._registry.choose_speech(hosted, command.speech)
        elif isinstance(command, End) and not hosted.has_end:
            hosted.end()
        await hosted.find_room(self._limits.stall_s)

    # What the client is told

    async def _tell(self) -> None:
        """Tell session after session."""
        while True:
            await self._opened.wait()
            self._opened.clear()
            assert self._session
            await self._tell_all(self._session)

    async def _tell_all(self, session: _Session) -> None:
        """Tell all events of a session; return after the last."""
        cursor = session.reader.cursor
        while not cursor.is_done:
            session.reader.news.clear()
            try:
                events = [self._at_its_rate(event) for event in cursor.read()]
            except LogGapError as error:
                raise SlowReaderError from error
            self._registry.errors.update(event.reason.value for event in events if isinstance(event, Failed))
            await self._say(self._dialect.tell_all(events, self._at_s))
            if not cursor.is_done:
                await session.reader.news.wait()
        last = session.hosted.log.last
        self._close(session)
        if isinstance(last, Failed):
            await self._say([Hangup(close_code(last.reason), last.reason.value)])
        session.is_told.set()

    def _at_its_rate(self, event: Event) -> Event:
        rate = self._dialect.speech_rate
        if rate is None or not isinstance(event, Spoken):
            return event
        return replace(event, pcm=resampled(event.pcm, event.rate, rate), rate=rate)

    async def _say(self, replies: Sequence[Reply]) -> None:
        async with self._turn:
            if self._is_hung_up:
                raise _HungUp
            for reply in replies:
                if isinstance(reply, Hangup):
                    self._is_hung_up = True
                    await self._wire.close(reply.code, reply.reason)
                    raise _HungUp
                await self._wire.send(reply)

    @property
    def _at_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_at

    def _close(self, session: _Session) -> None:
        session.reader.close()
        session.hosted.has_reader = False
        self._registry.close(session.hosted)
