"""A client of the server, for programs: audio in, events out, over connections that come and go.

It resumes its session when the connection was lost. When the session itself is lost, because the server was started
anew, it opens another and plays it the audio again from the last silence, or half a minute before the last word; words
that it has told already are passed over. A `Reconnected` event says so. It knows no files, devices or formats.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendError, ConfigError, SimulWhisperError, as_samples
from streaming.client.audio_buffer import AudioBuffer
from streaming.client.deduplication import Deduplicator
from streaming.events import Ended, Event, Failed, Flushed, Reason
from streaming.protocols.native import (
    PATH,
    Ack,
    ClientMessage,
    End,
    Flush,
    Numbered,
    ProtocolError,
    Ready,
    Received,
    Refused,
    Resume,
    ServerMessage,
    client_text,
    parse_server,
)
from streaming.sessions.request import SessionRequest

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
except ImportError as error:
    raise BackendError("a client needs websockets; install it with: pip install 'simul-whisper[live]'") from error

_BYTES_PER_SECOND = 2 * SAMPLE_RATE
_PIECE_BYTES = _BYTES_PER_SECOND // 10
_EVENTS_PER_ACK = 50
_MOST_EVENTS = 1_000
_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
# Longer than a busy server leaves audio, and the pings behind it, unread.
_PING_TIMEOUT_S = 90.0
# The server has given the session up; and what may be better next time.
_SESSION_LOST = ("unknown_session", "resume_gap", "stopping", "stopped", "overloaded")
_COME_AGAIN = ("not_ready", "too_many_connections", "too_many_sessions")


# What times are rounded to.
_MILLISECOND_S = 0.001


class RefusedError(SimulWhisperError):
    """The server refuses. code: as in the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class ConnectionLostError(SimulWhisperError):
    """The server cannot be reached, at first or for longer than one is patient."""


@dataclass(frozen=True)
class Reconnected:
    """The connection is back. is_resumed: the session goes on; else a new one hears the audio again from `from_s`."""

    is_resumed: bool
    from_s: float


ClientEvent = Event | Reconnected


class Client:
    """One stream. Enter it with `async with`; `send` audio and `end` it, and meanwhile iterate over it for the events.

    settings: `language`, `task` and options of the engine, voice: those of voice activity, both as in the protocol.
    patience_s: how long a server that was reached once is tried again. unsent_s: audio that may wait to be sent.
    Iterating raises RefusedError and ConnectionLostError; else the last event is `Ended` or `Failed`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        settings: Mapping[str, Any] | None = None,
        voice: Mapping[str, Any] | None = None,
        drafts: bool = True,
        patience_s: float = 60.0,
        unsent_s: float = 60.0,
    ) -> None:
        self._url, self._token = websocket_url(url), token
        self._hello = SessionRequest(engine=dict(settings or {}), voice=dict(voice or {}), drafts=drafts)
        self._patience_s, self._most_unsent = patience_s, round(unsent_s * _BYTES_PER_SECOND)
        self._audio, self._told = AudioBuffer(), Deduplicator()
        self._session, self._session_start = "", 0
        self._seen = self._acknowledged = 0
        self._flushes: deque[int] = deque()
        self._n_flushes_sent = 0
        self._is_ended = self._end_sent = self._was_reached = self._had_session = self._is_over = False
        self._reached_at = 0.0
        self._changed, self._has_room = asyncio.Event(), asyncio.Event()
        self._events: asyncio.Queue[ClientEvent | SimulWhisperError] = asyncio.Queue(_MOST_EVENTS)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Client":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        # After the last event the connection is being closed, which a cancellation would leave half done.
        if not self._is_over:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def session(self) -> str:
        """The id of the session in the server's log; empty before the first greeting."""
        return self._session

    async def send(self, samples: NDArray[np.float32]) -> None:
        """Send float32 (n,) mono 16 kHz in [-1, 1], any n; wait while too much is unsent. Raises AudioFormatError.

        After the last event, audio is passed over.
        """
        assert not self._is_ended, "send after end"
        whole = np.clip(np.round(as_samples(samples) * np.float32(32768)), -32768, 32767)
        self._audio.write(whole.astype("<i2").tobytes())
        self._changed.set()
        while self._audio.n_unsent > self._most_unsent and self._task and not self._task.done():
            self._has_room.clear()
            await self._has_room.wait()

    def flush(self) -> None:
        """Ask for all words so far; a `Flushed` event follows them."""
        self._flushes.append(self._audio.end)
        self._changed.set()

    def end(self) -> None:
        """No audio follows."""
        self._is_ended = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[ClientEvent]:
        while True:
            event = await self._events.get()
            if isinstance(event, SimulWhisperError):
                raise event
            yield event
            if isinstance(event, Ended | Failed):
                return

    # The connection

    async def _run(self) -> None:
        n_tries = 0
        try:
            while not await self._connected():
                is_fresh = asyncio.get_running_loop().time() - self._reached_at < _RETRY_S[-1]
                n_tries = 0 if is_fresh else min(n_tries + 1, len(_RETRY_S) - 1)
                await asyncio.sleep(_RETRY_S[n_tries])
        except SimulWhisperError as error:
            await self._events.put(error)
        finally:
            self._has_room.set()

    async def _connected(self) -> bool:
        """Connect, and stay so; True when the stream is over. Raises RefusedError and ConnectionLostError."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        proxy: Literal[True] | None = None if _is_local(self._url) else True
        try:
            async with connect(
                self._url, additional_headers=headers, compression=None, ping_timeout=_PING_TIMEOUT_S, proxy=proxy
            ) as socket:
                self._was_reached, self._reached_at = True, asyncio.get_running_loop().time()
                try:
                    await self._greet(socket)
                    return await self._talk(socket)
                except asyncio.CancelledError:
                    # Said like this, the server knows that nobody will come back.
                    await socket.close()
                    raise
        except InvalidURI as error:
            raise ConfigError(f"got {self._url}, expected a URL such as ws://127.0.0.1:8000") from error
        except (OSError, InvalidHandshake, ConnectionClosed, asyncio.TimeoutError) as error:
            if isinstance(error.__cause__, EOFError) and not self._was_reached:
                # Somebody was there, and was cut off before the first word.
                self._was_reached, self._reached_at = True, asyncio.get_running_loop().time()
            self._check_patience(f"{self._url}: {error or 'no answer'}")
        except RefusedError as refused:
            if refused.code in _SESSION_LOST and self._session:
                self._start_anew()
            elif refused.code not in _COME_AGAIN or not self._had_session:
                raise
            self._check_patience(str(refused))
        return False

    def _check_patience(self, reason: str) -> None:
        """Raise when the server was never reached, or too long ago."""
        if not self._was_reached or asyncio.get_running_loop().time() - self._reached_at > self._patience_s:
            raise ConnectionLostError(reason)

    async def _greet(self, socket: ClientConnection) -> None:
        """Open the session, or come back to it."""
        is_new = not self._session
        sent = self._audio.cursor - self._session_start
        await self._say(socket, self._hello if is_new else Resume(self._session, sent, self._seen))
        ready = _parsed(await socket.recv())
        if isinstance(ready, Refused):
            raise RefusedError(ready.reason.value, ready.message)
        if not isinstance(ready, Ready):
            raise ProtocolError(Reason.BAD_JSON, "got another answer to the hello, expected ready")
        self._session, self._end_sent = ready.session, ready.has_end
        self._audio.rewind(self._session_start + ready.received_bytes)
        self._n_flushes_sent = sum(each < self._audio.cursor for each in self._flushes)
        if self._had_session:
            await self._events.put(Reconnected(not is_new, self._audio.cursor / _BYTES_PER_SECOND))
        self._had_session = True

    def _start_anew(self) -> None:
        """The session is lost: play the next one what was kept."""
        self._session, self._seen, self._acknowledged = "", 0, 0
        self._session_start = self._audio.start
        self._audio.rewind(self._audio.start)
        self._told.start_anew(self._audio.start / _BYTES_PER_SECOND)

    async def _talk(self, socket: ClientConnection) -> bool:
        tasks = [asyncio.create_task(self._speak(socket)), asyncio.create_task(self._listen(socket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        # What the server said counts for more than that it could not be spoken to.
        for outcome in reversed(outcomes):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome
        return outcomes[1] is True

    async def _speak(self, socket: ClientConnection) -> None:
        while True:
            self._changed.clear()
            while self._audio.n_unsent:
                await self._ask_for_flushes(socket)
                until = next(iter(list(self._flushes)[self._n_flushes_sent :]), None)
                await socket.send(self._audio.play(_PIECE_BYTES, until))
                self._has_room.set()
            await self._ask_for_flushes(socket)
            if self._is_ended and not self._end_sent:
                self._end_sent = True
                await self._say(socket, End())
            if self._seen - self._acknowledged >= _EVENTS_PER_ACK:
                self._acknowledged = self._seen
                await self._say(socket, Ack(self._seen))
            await self._changed.wait()

    async def _ask_for_flushes(self, socket: ClientConnection) -> None:
        while not self._end_sent and self._n_flushes_sent < len(self._flushes):
            if self._flushes[self._n_flushes_sent] > self._audio.cursor:
                return
            self._n_flushes_sent += 1
            await self._say(socket, Flush())

    async def _say(self, socket: ClientConnection, message: ClientMessage) -> None:
        await socket.send(client_text(message))

    async def _listen(self, socket: ClientConnection) -> bool:
        """Return whether the stream is over; else the connection is."""
        async for text in socket:
            self._reached_at = asyncio.get_running_loop().time()
            message = _parsed(text)
            if isinstance(message, Refused):
                raise RefusedError(message.reason.value, message.message)
            if isinstance(message, Received):
                received_s = (self._session_start + message.received_bytes) / _BYTES_PER_SECOND
                self._audio.forget(_bytes(min(received_s, self._told.needed_from_s(received_s))))
            elif isinstance(message, Numbered) and await self._hear(message):
                return True
        return False

    async def _hear(self, message: Numbered) -> bool:
        """Take an event; True after the last."""
        event = message.event
        if isinstance(event, Failed) and event.reason.value in _SESSION_LOST:
            raise RefusedError(event.reason.value, event.message)
        assert message.seq == self._seen + 1
        self._seen = message.seq
        told = self._told.told(event) if event else None
        while isinstance(told, Flushed) and self._flushes and self._flushes[0] <= _bytes(told.at_s + _MILLISECOND_S):
            self._flushes.popleft()
            self._n_flushes_sent = max(0, self._n_flushes_sent - 1)
        self._is_over = isinstance(told, Ended | Failed)
        if told:
            await self._events.put(told)
        if self._seen - self._acknowledged >= _EVENTS_PER_ACK:
            self._changed.set()
        return self._is_over


async def paced(source: AsyncIterator[NDArray[np.float32]]) -> AsyncIterator[NDArray[np.float32]]:
    """Yield the pieces of audio at the pace of speech: each when its last sample has been spoken."""
    loop, due_at = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    async for samples in source:
        due_at += len(samples) / SAMPLE_RATE
        await asyncio.sleep(max(0.0, due_at - loop.time()))
        yield samples


def websocket_url(url: str) -> str:
    """Return the URL of the stream of a server; http is taken for ws, and the path may be left out.

    Raises ConfigError.
    """
    try:
        parts = urlsplit(url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        is_complete = scheme in ("ws", "wss") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_complete = False
    if not is_complete:
        raise ConfigError(f"got {url}, expected a URL such as ws://127.0.0.1:8000")
    return urlunsplit((scheme, parts.netloc, parts.path if parts.path != "/" and parts.path else PATH, parts.query, ""))


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parsed(text: str | bytes) -> ServerMessage | None:
    if isinstance(text, bytes):
        raise ProtocolError(Reason.BAD_JSON, "got bytes, expected text")
    return parse_server(text)


def _bytes(time_s: float) -> int:
    return 2 * round(time_s * SAMPLE_RATE)
