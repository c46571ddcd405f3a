"""The sessions of a server: opened, left by a lost connection, come back to, ended, drained."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from anyio import move_on_after

from simul_whisper import AlignAttConfig, ConfigError
from streaming.protocols.native import Code, Hello, ProtocolError, Resume
from streaming.server.limits import Limits
from streaming.server.resumable import ResumableSession
from streaming.sessions.handle import SessionHandle
from streaming.sessions.worker import Worker, WorkerBusyError
from streaming.settings import VoiceConfig

# Sessions that are over, kept for clients that lost the connection before the last events.
_MOST_OVER = 64


class Holder(Protocol):
    """A connection that has a session."""

    async def let_go(self) -> None:
        """Give the session up for another connection."""


@dataclass
class _Place:
    """A session; holder: None while its client is away, until `away` calls."""

    session: ResumableSession
    total: asyncio.TimerHandle
    holder: Holder | None
    away: asyncio.TimerHandle | None = None


class SessionRegistry:
    """config, voice: of sessions that ask for nothing else. It belongs to one event loop."""

    def __init__(self, worker: Worker, config: AlignAttConfig, voice: VoiceConfig, limits: Limits) -> None:
        self.worker, self.limits = worker, limits
        self.config, self._voice = config, voice
        self._places: dict[str, _Place] = {}
        self.is_stopping = False
        self._changed = asyncio.Event()
        self.n_connections = 0
        self.errors: Counter[str] = Counter()

    def open(self, hello: Hello, holder: Holder) -> ResumableSession:
        """Open a session. Raises ProtocolError."""
        self._check_open()
        config = hello.config(self.config)
        voice = hello.voice_config(self._voice)

        def handle(notify: Callable[[], None]) -> SessionHandle:
            return self.worker.open(config, voice, drafts=hello.drafts, notify=notify)

        try:
            session = ResumableSession(secrets.token_urlsafe(16), hello.audio, handle)
        except ConfigError as error:
            raise ProtocolError(Code.CONFIG, str(error)) from error
        except WorkerBusyError as error:
            raise ProtocolError(Code.TOO_MANY_SESSIONS, str(error)) from error
        total = asyncio.get_running_loop().call_later(
            self.limits.total_s,
            session.stop,
            Code.TOO_LONG,
            f"the session has lasted {self.limits.total_s:g} s, no longer is allowed",
        )
        self._places[session.name] = _Place(session, total, holder)
        return session

    def _check_open(self) -> None:
        if self.is_stopping:
            raise ProtocolError(Code.STOPPING, "the server is being stopped, expected to be asked before")
        health = self.worker.health()
        if not health.is_ready:
            reason = health.message or f"the model is {health.state.value}"
            raise ProtocolError(Code.NOT_READY, f"{reason}; try again later")

    async def resume(self, resume: Resume, holder: Holder) -> ResumableSession:
        """Give a session to a new connection, which another may have to let go for. Raises ProtocolError."""
        place = self._known(resume.session)
        while place.holder is not None:
            await place.holder.let_go()
            place = self._known(resume.session)
        if resume.sent_bytes < place.session.received_bytes:
            received = place.session.received_bytes
            raise ProtocolError(Code.BAD_VALUE, f"got sent_bytes {resume.sent_bytes}, expected {received} or more")
        place.session.collect()
        place.session.after(resume.seen)
        if place.away:
            place.away.cancel()
        place.holder, place.away = holder, None
        return place.session

    def _known(self, name: str) -> _Place:
        place = self._places.get(name)
        if place is None:
            raise ProtocolError(Code.UNKNOWN_SESSION, "got a session that is unknown or forgotten, expected a new one")
        return place

    def leave(self, session: ResumableSession) -> None:
        """The connection is lost: the client may come back for a while."""
        place = self._places[session.name]
        place.holder = None
        if session.is_delivered:
            self.drop(session)
            return
        place.away = asyncio.get_running_loop().call_later(self.limits.resume_s, self.drop, session)
        over = [each.session for each in self._places.values() if each.holder is None and each.session.last]
        for each in over[:-_MOST_OVER]:
            self.drop(each)
        self._changed.set()

    def drop(self, session: ResumableSession) -> None:
        """Forget a session, whether it is over or not."""
        place = self._places.pop(session.name, None)
        if place is None:
            return
        place.total.cancel()
        if place.away:
            place.away.cancel()
        session.close()
        self._changed.set()

    @property
    def n_away(self) -> int:
        """How many sessions wait for their client to come back."""
        return sum(place.holder is None and place.session.last is None for place in self._places.values())

    async def drain(self, drain_s: float, hurry_s: float = 10.0) -> None:
        """Open no more; let sessions end by themselves for `drain_s`; then stop them, which may take `hurry_s`."""
        self.is_stopping = True
        if await self._emptied(drain_s):
            return
        for place in list(self._places.values()):
            place.session.stop(Code.STOPPING, "the server is being stopped")
        await self._emptied(hurry_s)

    async def _emptied(self, timeout_s: float) -> bool:
        """Wait until each session is over and its client has been told, or has gone."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while any(place.holder is not None or place.session.last is None for place in self._places.values()):
            self._changed.clear()
            for place in self._places.values():
                if place.holder is None:
                    place.session.collect()
            with move_on_after(min(1.0, until - loop.time())) as waiting:
                await self._changed.wait()
            if waiting.cancelled_caught and loop.time() >= until:
                return False
        return True
