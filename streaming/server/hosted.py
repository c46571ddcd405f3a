"""One session as a server keeps it: bytes on their way into it, whatever protocol they came by, and how it ends."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper import AudioFormatError
from streaming.audio.containers import ContainerDecoder
from streaming.audio.pcm import PcmDecoder
from streaming.events import Failed, Reason
from streaming.sessions.event_log import EventLog
from streaming.sessions.pool import SessionHandle
from streaming.sessions.request import Refusal
from streaming.settings import PcmFormat

# So little of a container is decoded at once: a megabyte may hold an hour of silence.
CONTAINER_PIECE_BYTES = 4_096
# After so long, audio for which there was no room is offered again.
_OFFER_S = 0.02


class _Mark(Enum):
    FLUSH = "flush"
    END = "end"


class HostedSession:
    """It belongs to one event loop. Its events are in `log`.

    audio: what the bytes are; None: a container. `room` is set whenever some of the audio that waits was taken.
    """

    def __init__(self, handle: SessionHandle, audio: PcmFormat | None) -> None:
        self.log: EventLog = handle.log
        # None once the session is over, or nobody asks for it any more: it holds half a minute of audio.
        self._handle: SessionHandle | None = handle
        self._audio = audio
        self._decoder = ContainerDecoder() if audio is None else PcmDecoder(audio)
        self._waiting: deque[NDArray[np.float32] | _Mark] = deque()
        self._offer: asyncio.TimerHandle | None = None
        self._stopped: Failed | None = None
        self._has_end = False
        self._work: asyncio.Task[None] | None = None
        self.received_bytes = 0
        self.room = asyncio.Event()
        # Whether a connection is there that tells the client of events.
        self.has_reader = True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut a message into what is fed at once."""
        step = len(data) if self._audio else CONTAINER_PIECE_BYTES
        return (data[start : start + step] for start in range(0, len(data), max(1, step)))

    async def feed(self, piece: bytes) -> None:
        """Take audio, for which there may be no room yet: see `is_full`. Raises Refusal, also after the end.

        What was begun is finished also when the caller is cancelled, because its connection is lost: see `at_rest`.
        """
        self._check_open("audio")
        await self._finished(self._feed(piece))

    def flush(self) -> None:
        self._check_open("a flush")
        self._waiting.append(_Mark.FLUSH)
        self._pump()

    def clear(self) -> None:
        """Give up what was not decoded yet. What was promised, such as the end, is kept."""
        self._waiting = deque(each for each in self._waiting if isinstance(each, _Mark))
        if self._handle:
            self._handle.clear()
        self._pump()

    async def end(self) -> None:
        """No audio follows; finished also when the caller is cancelled."""
        self._check_open("an end")
        await self._finished(self._end())

    def stop(self, reason: Reason, message: str) -> None:
        """End the session for this reason; words heard so far are still told. Later audio is passed over."""
        if not self._has_end and not self.log.is_over:
            self._stopped, self._has_end = Failed(reason, message), True
            self._waiting = deque([_Mark.END])
            self._pump()

    def close(self) -> None:
        """Give up what is not decoded yet; nobody will ask any more."""
        if self._handle and not self.log.is_over:
            self._handle.clear()
            if not self._has_end or self._waiting:
                self._handle.end()
        self._let_go()

    def settle(self) -> None:
        """Let go of what a session needs no more once it is over."""
        if self.log.is_over:
            self._let_go()

    @property
    def is_busy(self) -> bool:
        """Whether audio that was begun to be taken is not taken yet."""
        return self._work is not None and not self._work.done()

    async def at_rest(self) -> None:
        """Wait until audio that was begun is taken, and `received_bytes` counts it."""
        if self._work is not None:
            await asyncio.wait([self._work])

    @property
    def is_full(self) -> bool:
        """Whether audio waits for room; ask again when `room` is set."""
        return bool(self._waiting)

    @property
    def is_stopped(self) -> bool:
        return self._stopped is not None

    @property
    def has_end(self) -> bool:
        """Whether no audio is expected any more."""
        return self._has_end

    def _let_go(self) -> None:
        self._handle = None
        self._waiting.clear()
        self.room.set()
        if isinstance(self._decoder, ContainerDecoder):
            asyncio.get_running_loop().run_in_executor(None, self._decoder.close)

    def _check_open(self, what: str) -> None:
        if self._has_end:
            raise Refusal(Reason.AFTER_END, f"{what} came after the end of the session; open a new one")

    async def _feed(self, piece: bytes) -> None:
        samples = await self._decoded(lambda: self._decoder.feed(piece))
        self.received_bytes += len(piece)
        if not self._has_end:
            self._waiting.append(samples)
            self._pump()

    async def _end(self) -> None:
        rest = await self._decoded(self._decoder.end)
        if not self._has_end:
            self._has_end = True
            self._waiting.extend([rest, _Mark.END])
            self._pump()

    async def _finished(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for work that goes on when the waiting is cancelled: FFmpeg has the bytes by then."""
        self._work = asyncio.create_task(work)
        # Where nobody waits any more, the decoder tells its error to the next one.
        self._work.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._work)

    async def _decoded(self, decode: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Decode on another thread where FFmpeg does it, so that the event loop need not wait. Raises Refusal."""
        try:
            return await asyncio.to_thread(decode) if self._audio is None else decode()
        except AudioFormatError as error:
            raise Refusal(Reason.AUDIO_FORMAT, str(error)) from error

    def _pump(self) -> None:
        """Hand on what waits, as far as there is room, and try again a little later."""
        if self._offer:
            self._offer.cancel()
            self._offer = None
        while self._waiting and self._handle:
            first = self._waiting[0]
            if isinstance(first, _Mark):
                self._mark(self._handle, first)
            else:
                n_taken = self._handle.submit(first)
                if n_taken:
                    self.room.set()
                if n_taken < len(first):
                    self._waiting[0] = first[n_taken:]
                    self._offer = asyncio.get_running_loop().call_later(_OFFER_S, self._pump)
                    return
            self._waiting.popleft()
        self.room.set()

    def _mark(self, handle: SessionHandle, mark: _Mark) -> None:
        if mark is _Mark.FLUSH:
            handle.flush()
        else:
            handle.end(self._stopped)
