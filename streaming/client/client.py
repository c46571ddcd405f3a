"""A client of the server, for programs: audio in, events out, over connections that come and go.

It resumes its session when the connection was lost. When the session itself is lost, because the server was started
anew, it opens another and plays it the audio again from the last silence, or from some time before the last word; words
that it has told already are passed over. What is done after which error stands in `recovery`. `Disconnected` and
`Reconnected` events say so. It knows no files, devices or formats.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendError, ConfigError, SimulWhisperError, as_s16, as_samples
from streaming.client.address import is_local, websocket_url
from streaming.client.connection_events import ConnectionLostError, Disconnected, LostError, Reconnected, RefusedError
from streaming.client.wishes import Wishes
from streaming.events import AudioDropped, Ended, Event, Failed, Flushed, Reason, Spoken
from streaming.protocols.dialect import End, Flush
from streaming.protocols.native import (
    Ack,
    ClientMessage,
    Numbered,
    Ready,
    Received,
    Refused,
    Resume,
    ServerMessage,
    client_text,
    parse_server,
)
from streaming.protocols.reading import ProtocolError
from streaming.replay.audio_buffer import AudioBuffer
from streaming.replay.deduplication import Deduplicator
from streaming.replay.recovery import RECOVERY, After, Recovery
from streaming.sessions.request import SessionRequest

try:
    from anyio import move_on_after
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
except ImportError as error:
    raise BackendError("a client needs websockets; install it with: pip install 'simul-whisper[live]'") from error

_BYTES_PER_SECOND = 2 * SAMPLE_RATE
_PIECE_BYTES = _BYTES_PER_SECOND // 10
_MOST_EVENTS = 1_000
# Whoever closes with this comes back; 1000 gives the session up.
_CLOSE_TO_RETURN = 4000
_CLOSE_S = 1.0
# What times are rounded to.
_MILLISECOND_S = 0.001

ClientEvent = Event | Disconnected | Reconnected


class Client:
    """One stream. Enter it with `async with`; `send` audio and `end` it, and meanwhile iterate over it for the events.

    model: which of the server's; empty: it chooses. settings: `language`, `task` and options of the engine, voice:
    those of voice activity, as in the protocol. targets: languages to translate into, by code or name, `choose_targets`
    changes them. speech: which texts are spoken, targets or "" for the transcript, `choose_speech` changes them.
    recovery: the table, or one like it. Raises ConfigError; iterating raises RefusedError and ConnectionLostError, else
    the last event is `Ended` or `Failed`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        model: str = "",
        settings: Mapping[str, Any] | None = None,
        voice: Mapping[str, Any] | None = None,
        targets: Sequence[str] = (),
        speech: Sequence[str] = (),
        drafts: bool = True,
        recovery: Recovery = RECOVERY,
    ) -> None:
        self._url, self._token = websocket_url(url), token
        hello = SessionRequest(engine=dict(settings or {}), voice=dict(voice or {}), drafts=drafts, model=model)
        self._wishes = Wishes(hello)
        self._recovery = recovery
        self._audio, self._told = AudioBuffer(), Deduplicator(recovery)
        self._session, self._session_start = "", 0
        self._received = self._seen = self._acknowledged = self._n_failures = 0
        self._flushes, self._n_flushes_sent = deque[int](), 0
        self._is_ended = self._end_sent = self._is_open = self._had_session = self._is_over = False
        self._reached_at, self._disconnected_by = -math.inf, ""
        # From where audio was given up that the session has not heard; None while nothing was.
        self._dropped_from: int | None = None
        self._changed, self._has_room = asyncio.Event(), asyncio.Event()
        self._events: asyncio.Queue[ClientEvent | SimulWhisperError] = asyncio.Queue(_MOST_EVENTS)
        self._task: asyncio.Task[None] | None = None
        self._is_ack_due = False
        if targets:
            self.choose_targets(targets)
        if speech:
            self.choose_speech(speech)

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

    async def send(self, samples: NDArray[np.float32], *, drop_oldest: bool = False) -> None:
        """Send float32 (n,) mono 16 kHz in [-1, 1], any n; wait while too much is unsent. Raises AudioFormatError.

        With `drop_oldest`, for devices that cannot wait, it never waits; when the server is away for so long that too
        much is kept, the oldest audio is given up, and an `AudioDropped` event says which.
        After the last event, audio is passed over.
        """
        assert not self._is_ended, "send after end"
        self._audio.write(as_s16(as_samples(samples)).tobytes())
        if drop_oldest:
            self._shorten()
        self._changed.set()
        most_unsent = math.inf if drop_oldest else self._recovery.most_unsent_s * _BYTES_PER_SECOND
        while self._audio.n_unsent > most_unsent and self._task and not self._task.done():
            self._has_room.clear()
            await self._has_room.wait()

    def flush(self) -> None:
        """Ask for all words so far; a `Flushed` event follows them."""
        self._flushes.append(self._audio.end)
        self._changed.set()

    def choose_targets(self, targets: Sequence[str]) -> None:
        """Have what follows translated into these languages, by code or name; none of them ends all translations.

        Raises ConfigError for what is no language. What the server cannot translate into ends the stream.
        """
        self._wishes.choose_targets(targets)
        self._told.choose(self._wishes.hello.targets)
        self._changed.set()

    def choose_speech(self, speech: Sequence[str]) -> None:
        """Have what follows of these texts spoken: of targets, by code or name, or "" of the transcript; none ends it.

        Raises ConfigError for what is no language. What the server cannot speak ends the stream.
        """
        self._wishes.choose_speech(speech)
        self._told.choose_speech(self._wishes.hello.speech)
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
        try:
            while True:
                try:
                    await self._connect()
                    return
                except LostError as lost:
                    delay_s = await self._recover(lost)
                await asyncio.sleep(delay_s)
        except SimulWhisperError as error:
            await self._events.put(error)
        finally:
            self._has_room.set()

    async def _recover(self, lost: LostError) -> float:
        """Do what the table says; return how long to wait before the next connection. Raises what ends the stream."""
        then = self._recovery.after(lost.code)
        now, was_open = asyncio.get_running_loop().time(), self._is_open
        self._is_open, self._reached_at = False, now if was_open else self._reached_at
        if then is After.STOP or now - self._reached_at > self._recovery.patience_s:
            raise lost
        is_forgotten = then is After.RENEW and self._session and not was_open
        if then is After.RENEW:
            self._start_anew()
        wait_s = None if lost.retry_after_s is None else self._recovery.wait_s(lost.retry_after_s)
        if lost.code != self._disconnected_by or wait_s is not None:
            self._disconnected_by = lost.code
            await self._events.put(Disconnected(lost.code, str(lost), wait_s))
        if is_forgotten:
            return 0
        self._n_failures += 1
        return self._recovery.delay_s(self._n_failures) if wait_s is None else wait_s

    async def _connect(self) -> None:
        """Connect, and stay so until the stream is over. Raises LostError."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        proxy: Literal[True] | None = None if is_local(self._url) else True
        try:
            async with connect(
                self._url,
                additional_headers=headers,
                compression=None,
                proxy=proxy,
                open_timeout=self._recovery.silent_s,
                close_timeout=_CLOSE_S,
                max_size=1 << 24,
                # Pings would wait behind audio that a busy server leaves unread; `silent_s` finds the dead ones.
                ping_interval=None,
            ) as socket:
                self._note_contact()
                try:
                    await self._greet(socket)
                    await self._talk(socket)
                except asyncio.CancelledError:
                    # Said like this, the server knows that nobody will come back.
                    await socket.close()
                    raise
                except LostError:
                    await socket.close(_CLOSE_TO_RETURN)
                    raise
        except InvalidURI as error:
            raise ConfigError(f"got {self._url}, expected a URL such as ws://127.0.0.1:8000") from error
        except (OSError, InvalidHandshake, ConnectionClosed, asyncio.TimeoutError) as error:
            if isinstance(error.__cause__, EOFError):
                # Somebody was there, and was cut off before the first word.
                self._note_contact()
            raise ConnectionLostError("unreachable", f"{self._url}: {error or 'no answer'}") from error

    def _note_contact(self) -> None:
        """Patience begins with the first contact, and anew whenever an open connection is lost."""
        if self._reached_at == -math.inf:
            self._reached_at = asyncio.get_running_loop().time()

    async def _greet(self, socket: ClientConnection) -> None:
        """Open the session, or come back to it."""
        if self._dropped_from is not None:
            await self._tell_dropped(self._dropped_from)
        is_new = not self._session
        sent = self._audio.cursor - self._session_start
        self._wishes.greet(is_new=is_new)
        await self._say(socket, self._wishes.hello if is_new else Resume(self._session, sent, self._seen))
        ready = await self._next(socket)
        if isinstance(ready, Refused):
            raise RefusedError(ready.reason.value, ready.message, ready.retry_after_s)
        if not isinstance(ready, Ready):
            raise ProtocolError(Reason.BAD_JSON, "the server answered hello with something other than ready")
        self._check_kept()
        self._session, self._end_sent = ready.session, ready.has_end
        self._audio.rewind(self._session_start + ready.received_bytes)
        self._received = self._audio.cursor
        self._n_flushes_sent = sum(each < self._audio.cursor for each in self._flushes)
        self._is_open, self._n_failures, self._disconnected_by = True, 0, ""
        if self._had_session:
            await self._events.put(Reconnected(not is_new, self._audio.cursor / _BYTES_PER_SECOND))
        self._had_session = True

    def _start_anew(self) -> None:
        """Play the next session what was kept."""
        self._session, self._seen, self._acknowledged, self._is_ack_due = "", 0, 0, False
        self._session_start = self._received = self._audio.start
        self._audio.rewind(self._audio.start)
        self._told.start_anew(self._audio.start / _BYTES_PER_SECOND)

    async def _talk(self, socket: ClientConnection) -> None:
        """Return when the stream is over."""
        tasks = [asyncio.create_task(self._speak(socket)), asyncio.create_task(self._listen(socket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done() and isinstance(tasks[0].exception(), ConnectionClosed):
                # Why it was closed may still have to be read.
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        # What the server said counts for more than that it could not be spoken to.
        for outcome in reversed(outcomes):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome

    # What is said

    async def _speak(self, socket: ClientConnection) -> None:
        while True:
            self._changed.clear()
            while self._audio.n_unsent:
                self._check_kept()
                await self._ask(socket)
                until = next(iter(list(self._flushes)[self._n_flushes_sent :]), None)
                await socket.send(self._audio.play(_PIECE_BYTES, until))
                self._has_room.set()
            await self._ask(socket)
            if self._is_ended and not self._end_sent:
                self._end_sent = True
                await self._say(socket, End())
            if self._is_ack_due or self._seen - self._acknowledged >= self._recovery.events_per_ack:
                self._acknowledged, self._is_ack_due = self._seen, False
                await self._say(socket, Ack(self._seen))
            await self._changed.wait()

    async def _ask(self, socket: ClientConnection) -> None:
        """Say what is chosen, and ask for the flushes that are due."""
        for wish in self._wishes.untold():
            await self._say(socket, wish)
        while not self._end_sent and self._n_flushes_sent < len(self._flushes):
            if self._flushes[self._n_flushes_sent] > self._audio.cursor:
                return
            self._n_flushes_sent += 1
            await self._say(socket, Flush())

    async def _say(self, socket: ClientConnection, message: ClientMessage) -> None:
        await socket.send(client_text(message))

    def _shorten(self) -> None:
        if self._audio.n_kept <= self._recovery.most_kept_s * _BYTES_PER_SECOND:
            return
        if self._dropped_from is None:
            self._dropped_from = self._audio.start
        self._audio.shorten(2 * round(self._recovery.kept_when_full_s * SAMPLE_RATE))

    def _check_kept(self) -> None:
        """Raises ConnectionLostError when the session could only go on with a hole in its audio."""
        if self._dropped_from is not None:
            raise ConnectionLostError("full", "the server has fallen too far behind")

    async def _tell_dropped(self, dropped_from: int) -> None:
        self._dropped_from = None
        from_s = max(dropped_from / _BYTES_PER_SECOND, self._told.heard_s)
        self._start_anew()
        if from_s < self._audio.start / _BYTES_PER_SECOND:
            await self._events.put(AudioDropped(from_s, self._audio.start / _BYTES_PER_SECOND))

    # What is heard

    async def _next(self, socket: ClientConnection) -> ServerMessage | None:
        """Return the server's next message; None for one of an unknown type, or when none came and none was owed."""
        text = None
        with move_on_after(self._recovery.silent_s):
            text = await socket.recv()
        if text is not None:
            return parse_server(text)
        if not self._is_open or self._is_ended or self._audio.cursor > self._received:
            raise ConnectionLostError("silent", f"{self._url}: no answer for {self._recovery.silent_s:g} s")
        return None

    async def _listen(self, socket: ClientConnection) -> None:
        """Return when the stream is over."""
        while not self._is_over:
            message = await self._next(socket)
            if isinstance(message, Refused):
                raise RefusedError(message.reason.value, message.message, message.retry_after_s)
            if isinstance(message, Received):
                self._received = self._session_start + message.received_bytes
                received_s = self._received / _BYTES_PER_SECOND
                self._audio.forget(_bytes(min(received_s, self._told.needed_from_s(received_s))))
            elif isinstance(message, Numbered) and message.seq > self._seen:
                await self._hear(message)

    async def _hear(self, message: Numbered) -> None:
        event = message.event
        if message.seq != self._seen + 1:
            raise ConnectionLostError("gap", f"got event {message.seq}, expected {self._seen + 1}")
        self._seen = message.seq
        if isinstance(event, Failed) and self._recovery.after(event.reason.value) is not After.STOP:
            raise RefusedError(event.reason.value, event.message)
        told = self._told.told(event) if event else None
        while isinstance(told, Flushed) and self._flushes and self._flushes[0] <= _bytes(told.at_s + _MILLISECOND_S):
            self._flushes.popleft()
            self._n_flushes_sent = max(0, self._n_flushes_sent - 1)
        self._is_over = isinstance(told, Ended | Failed)
        if told:
            await self._events.put(told)
        # A server keeps what is not acknowledged, and sound is big.
        self._is_ack_due |= isinstance(event, Spoken)
        if self._is_ack_due or self._seen - self._acknowledged >= self._recovery.events_per_ack:
            self._changed.set()


def _bytes(time_s: float) -> int:
    return 2 * round(time_s * SAMPLE_RATE)
