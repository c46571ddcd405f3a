"""One session as a server keeps it: bytes on their way into it, whatever protocol they came by, and how it ends."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from enum import Enum

import numpy as np
from anyio import fail_after
from numpy.typing import NDArray

from simul_whisper import AudioFormatError
from streaming.audio.containers import ContainerDecoder
from streaming.audio.pcm import PcmDecoder
from streaming.events import Failed, Reason
from streaming.server.speech import SessionSpeech
from streaming.server.translations import SessionTranslations
from streaming.sessions.event_log import EventLog
from streaming.sessions.pool import SessionHandle
from streaming.sessions.request import Refusal
from streaming.settings import PcmFormat

logger = logging.getLogger(__name__)

# So much of a container is taken at once, and the next when that is decoded.
CONTAINER_PIECE_BYTES = 4_096
# After so long, audio for which there was no room is offered again.
_OFFER_S = 0.02


class _Mark(Enum):
    FLUSH = "flush"
    END = "end"


class HostedSession:
    """It belongs to one event loop. Its events are in `log`.

    audio: what the bytes are; None: a container. `room` is set whenever some of the audio that waits was taken. Audio
    that cannot be decoded ends the session.
    """

    def __init__(
        self,
        handle: SessionHandle,
        audio: PcmFormat | None,
        translations: SessionTranslations | None = None,
        speech: SessionSpeech | None = None,
    ) -> None:
        self.log: EventLog = handle.log
        self._translations, self._speech = translations, speech
        # None once the session is over, or nobody asks for it any more: it holds half a minute of audio.
        self._handle: SessionHandle | None = handle
        self._audio = audio
        self._pcm = PcmDecoder(audio) if audio else None
        # What is on its way to the decoder of a container, and then to the session.
        self._undecoded: deque[bytes | _Mark] = deque()
        self._waiting: deque[NDArray[np.float32] | _Mark] = deque()
        self._offer: asyncio.TimerHandle | None = None
        self._stopped: Failed | None = None
        self._has_end = self._has_told_end = False
        self.received_bytes = 0
        self.room = asyncio.Event()
        self._news = asyncio.Event()
        self._decoding = asyncio.create_task(self._decode()) if audio is None else None
        # Whether a connection is there that tells the client of events.
        self.has_reader = True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut a message into what is fed at once."""
        step = len(data) if self._audio else CONTAINER_PIECE_BYTES
        return (data[start : start + step] for start in range(0, len(data), max(1, step)))

    def feed(self, piece: bytes) -> None:
        """Take audio, for which there may be no room yet: see `is_full`. Raises Refusal, also after the end.

        What was taken will be heard, whatever becomes of the connection by which it came.
        """
        if not self._is_open("audio"):
            return
        if self._pcm is None:
            self._decode_later(piece)
        else:
            self._hand_on(_decoded(self._pcm, piece))
        self.received_bytes += len(piece)

    def flush(self) -> None:
        if self._is_open("a flush"):
            if self._pcm is not None:
                self._hand_on(self._pcm.flush())
            self._mark_later(_Mark.FLUSH)

    def clear(self) -> None:
        """Give up what was not decoded yet. What was promised, such as the end, is kept."""
        self._waiting = deque(each for each in self._waiting if isinstance(each, _Mark))
        if self._handle:
            self._handle.clear()
        self._pump()

    def choose_targets(self, targets: Sequence[str]) -> None:
        """Translate the words that follow into these languages. Also after the end: words may still come."""
        if self._handle and self._translations and not self.is_stopped:
            self._translations.choose(targets)
            if self._speech:
                self._speech.choose_targets(targets)

    def choose_speech(self, speech: Sequence[str]) -> None:
        """Speak what follows of these texts. Also after the end: words may still come."""
        if self._handle and self._speech and not self.is_stopped:
            self._speech.choose(speech)

    @property
    def targets(self) -> tuple[str, ...]:
        """The languages that it is translated into."""
        return self._speech.targets if self._speech else ()

    def end(self) -> None:
        """No audio follows."""
        if not self._is_open("an end"):
            return
        self._has_end = True
        if self._pcm is not None:
            self._hand_on(self._pcm.end())
        self._mark_later(_Mark.END)

    def stop(self, reason: Reason, message: str) -> None:
        """End the session for this reason; words heard so far are still told. Later audio is passed over."""
        self._waiting.clear()
        self._fail(reason, message)

    def close(self) -> None:
        """Give up what is not decoded yet; nobody will ask any more."""
        if self._handle and not self.log.is_over:
            self._handle.clear()
            if not self._has_told_end:
                self._handle.end()
        self._let_go()

    def settle(self) -> None:
        """Let go of what a session needs no more once it is over."""
        if self.log.is_over:
            self._let_go()

    async def find_room(self, stall_s: float) -> None:
        """Wait until what was taken has been handed on; meanwhile nothing is read, and the client has to wait.

        Raises Refusal when there is no room for so long.
        """
        while self.is_full:
            self.room.clear()
            try:
                with fail_after(stall_s):
                    await self.room.wait()
            except TimeoutError as error:
                message = f"there was no room for more audio for {stall_s:g} s; try again later"
                raise Refusal(Reason.OVERLOADED, message) from error

    @property
    def is_full(self) -> bool:
        """Whether audio waits for room, or to be decoded; ask again when `room` is set."""
        return bool(self._undecoded or self._waiting)

    @property
    def is_stopped(self) -> bool:
        return self._stopped is not None

    @property
    def has_end(self) -> bool:
        """Whether no audio is expected any more."""
        return self._has_end

    def _let_go(self) -> None:
        self._handle = self._translations = self._speech = None
        self._waiting.clear()
        self._stop_decoding()
        self.room.set()

    def _is_open(self, what: str) -> bool:
        """Return whether it is taken; what comes to a session that was stopped is passed over. Raises Refusal."""
        if self._has_end and not self.is_stopped:
            raise Refusal(Reason.AFTER_END, f"{what} came after the end of the session; open a new one")
        return not self.is_stopped

    def _mark_later(self, mark: _Mark) -> None:
        """Put it behind all audio that was taken."""
        if self._pcm is None:
            self._decode_later(mark)
        else:
            self._hand_on(mark)

    def _fail(self, reason: Reason, message: str) -> None:
        """End the session after the audio that waits."""
        if not self._has_told_end and not self.log.is_over:
            self._stopped, self._has_end = Failed(reason, message), True
            self._stop_decoding()
            self._hand_on(_Mark.END)

    # A container

    def _decode_later(self, item: bytes | _Mark) -> None:
        self._undecoded.append(item)
        self._news.set()

    def _stop_decoding(self) -> None:
        self._undecoded.clear()
        if self._decoding and self._decoding is not asyncio.current_task():
            self._decoding.cancel()

    async def _decode(self) -> None:
        """Decode what is fed, as far as there is room, until the end of it."""
        try:
            with closing(ContainerDecoder()) as decoder:
                while not self._has_told_end:
                    await self._decode_next(decoder)
        except Exception as error:
            self._fail(*undecoded(error, "container"))

    async def _decode_next(self, decoder: ContainerDecoder) -> None:
        await _until(self._news, lambda: bool(self._undecoded))
        item = self._undecoded[0]
        if item is not _Mark.FLUSH:
            async for samples in decoder.end() if isinstance(item, _Mark) else decoder.feed(item):
                self._hand_on(samples)
                await _until(self.room, lambda: not self._waiting)
        self._undecoded.popleft()
        self._hand_on(*[item] if isinstance(item, _Mark) else [])

    # Samples

    def _hand_on(self, *items: NDArray[np.float32] | _Mark) -> None:
        self._waiting.extend(items)
        self._pump()

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
            self._has_told_end = True
            handle.end(self._stopped)


def undecoded(error: Exception, what: str) -> tuple[Reason, str]:
    """Return why a session ends whose audio, in a `what`, could not be decoded. What is no client's fault is logged."""
    if isinstance(error, AudioFormatError):
        return Reason.AUDIO_FORMAT, str(error)
    if isinstance(error, Refusal):
        return error.reason, str(error)
    if isinstance(error, OSError):
        logger.warning("no process can be started that decodes a %s: %s", what, error)
        return Reason.OVERLOADED, f"the server can decode no other {what} now; try again later"
    logger.error("decoding a %s has failed", what, exc_info=error)
    return Reason.INTERNAL, "the server has a bug; its log says more"


def _decoded(decoder: PcmDecoder, piece: bytes) -> NDArray[np.float32]:
    try:
        return decoder.feed(piece)
    except AudioFormatError as error:
        raise Refusal(Reason.AUDIO_FORMAT, str(error)) from error


async def _until(news: asyncio.Event, is_so: Callable[[], bool]) -> None:
    while not is_so():
        news.clear()
        await news.wait()
