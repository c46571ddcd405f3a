"""Sessions that outlive their connections, as the native protocol has them: they have a name, and their events numbers.

The number of an event is its position in the session's log, which forgets none before its client has it.
"""

import asyncio
import secrets
from typing import Protocol

from streaming.events import Reason
from streaming.protocols.native import Numbered, Resume
from streaming.protocols.reading import ProtocolError
from streaming.server.hosted import CONTAINER_PIECE_BYTES, HostedSession
from streaming.server.log_reader import LogReader
from streaming.server.registry import SessionRegistry
from streaming.sessions.event_log import EventFilter, LogGapError
from streaming.sessions.request import Refusal, SessionRequest
from streaming.tracing import current

# Sessions that are over, kept for clients that lost the connection before the last events.
_MOST_OVER = 64
_RECEIPTS_PER_SECOND = 2


class Holder(Protocol):
    """A connection that has a session."""

    async def let_go(self) -> None:
        """Give the session up for another connection."""


class ResumableSession:
    """A session of the server, and what its client has of it. holder: None while the client is away."""

    def __init__(self, name: str, request: SessionRequest, hosted: HostedSession, holder: Holder) -> None:
        self.name, self.hosted = name, hosted
        self._audio = request.audio
        # There is speech only where it was asked for, and no number may be missing.
        self._reader = LogReader(hosted.log, EventFilter(speech=True), holds=True)
        self.holder: Holder | None = holder
        self.away: asyncio.TimerHandle | None = None

    @property
    def news(self) -> asyncio.Event:
        """Set when there is something to tell the client."""
        return self._reader.news

    def after(self, seen: int) -> list[Numbered]:
        """Return the events after that number. Raises Refusal when some of them are forgotten or to come."""
        if seen > self.hosted.log.n_appended:
            raise ProtocolError(Reason.BAD_VALUE, f"got seen {seen}, expected at most {self.hosted.log.n_appended}")
        if seen < self._reader.cursor.released:
            released = self._reader.cursor.released
            raise Refusal(Reason.RESUME_GAP, f"events up to {released} were acknowledged, and are forgotten")
        try:
            self._reader.cursor.go_to(seen)
            entries = self._reader.cursor.read_entries()
        except LogGapError as error:
            raise Refusal(Reason.RESUME_GAP, str(error)) from error
        return [Numbered(entry.position, entry.event) for entry in entries]

    def acknowledge(self, seen: int) -> None:
        """Forget the events up to `seen`. Raises ProtocolError when that many have not been told."""
        if seen > self._reader.cursor.position:
            told = self._reader.cursor.position
            raise ProtocolError(Reason.BAD_VALUE, f"got an ack of {seen}, expected at most {told}")
        self._reader.cursor.release(seen)

    @property
    def bytes_per_receipt(self) -> int:
        """After so much audio the client is told that it was received."""
        if self._audio is None:
            return CONTAINER_PIECE_BYTES
        return self._audio.rate * self._audio.bytes_per_frame // _RECEIPTS_PER_SECOND

    @property
    def is_delivered(self) -> bool:
        """Whether it is over, and every event has been acknowledged."""
        return self.hosted.log.is_over and self._reader.cursor.released == self.hosted.log.n_appended

    def close(self) -> None:
        """Read no more events."""
        self._reader.close()
        if self.away:
            self.away.cancel()


class ResumableSessions:
    """Those of a server, by name."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry
        self._sessions: dict[str, ResumableSession] = {}

    def open(self, request: SessionRequest, holder: Holder, network: str) -> ResumableSession:
        """Open a session. Raises Refusal."""
        hosted = self._registry.open(request, network)
        session = ResumableSession(secrets.token_urlsafe(16), request, hosted, holder)
        self._sessions[session.name] = session
        return session

    async def resume(self, resume: Resume, holder: Holder) -> ResumableSession:
        """Give a session to a new connection, which another may have to let go for. Raises Refusal."""
        session = await self._free(resume.session)
        received = session.hosted.received_bytes
        if resume.sent_bytes < received:
            raise ProtocolError(Reason.BAD_VALUE, f"got sent_bytes {resume.sent_bytes}, but {received} were received")
        session.after(resume.seen)
        if session.away:
            session.away.cancel()
        session.holder, session.away, session.hosted.has_reader = holder, None, True
        current().session = session.hosted.log.trace.session
        return session

    def leave(self, session: ResumableSession) -> None:
        """The connection is lost: the client may come back for a while."""
        session.holder, session.hosted.has_reader = None, False
        if session.is_delivered:
            self.drop(session)
            return
        loop = asyncio.get_running_loop()
        session.away = loop.call_later(self._registry.limits.resume_s, self.drop, session)
        over = [each for each in self._sessions.values() if each.holder is None and each.hosted.log.is_over]
        for each in over[:-_MOST_OVER]:
            self.drop(each)
        self._registry.changed()

    def drop(self, session: ResumableSession) -> None:
        """Forget a session, whether it is over or not."""
        if self._sessions.pop(session.name, None):
            session.close()
            self._registry.close(session.hosted)

    async def _free(self, name: str) -> ResumableSession:
        """Return a session that no connection holds. Raises Refusal."""
        while (session := self._known(name)).holder is not None:
            await session.holder.let_go()
        return session

    def _known(self, name: str) -> ResumableSession:
        session = self._sessions.get(name)
        if session is None:
            raise Refusal(Reason.UNKNOWN_SESSION, "this session is unknown or was forgotten; open a new one")
        return session
