"""One session as the server keeps it: it outlives its connections, and forgets no event before its client has it.

Events wait in the session's handle until a connection collects them; then they get their numbers, and are kept until
they are acknowledged, or too many. It knows the protocol's messages and nothing of sockets.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from simul_whisper import AudioFormatError
from streaming.audio.containers import ContainerDecoder
from streaming.audio.pcm import PcmDecoder
from streaming.events import Ended, Failed
from streaming.protocols.native import Code, Numbered, ProtocolError
from streaming.sessions.handle import SessionHandle
from streaming.settings import PcmFormat

# Events that were sent and not acknowledged; those before cannot be had again.
MAX_KEPT = 2_000
# So little of a container is decoded at once: a megabyte may hold an hour of silence.
_CONTAINER_PIECE_BYTES = 4_096
_RECEIPTS_PER_SECOND = 2


class _Mark(Enum):
    FLUSH = "flush"
    END = "end"


class ResumableSession:
    """A session's audio on its way in, and its events on their way out. It belongs to one event loop.

    audio: what the bytes are; None: a container. open_handle: opens the session, given what tells that there are
    events or room. `news` is set when there is something to tell the client, `room` when audio may have been taken.
    """

    def __init__(
        self, name: str, audio: PcmFormat | None, open_handle: Callable[[Callable[[], None]], SessionHandle]
    ) -> None:
        self.name = name
        self.news, self.room = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def notify() -> None:
            loop.call_soon_threadsafe(self._be_told)

        # None once all its events are here, or nobody asks for them: it holds half a minute of audio, and knows us.
        self._handle: SessionHandle | None = open_handle(notify)
        self._audio = audio
        self._decoder = ContainerDecoder() if audio is None else PcmDecoder(audio)
        self._waiting: deque[NDArray[np.float32] | _Mark] = deque()
        self._kept: deque[Numbered] = deque()
        self._n_forgotten = self._n_numbered = 0
        self._stopped: Failed | None = None
        self._has_end = False
        self._last: Ended | Failed | None = None
        self.received_bytes = 0

    # Audio

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut a message into what is fed at once."""
        step = len(data) if self._audio else _CONTAINER_PIECE_BYTES
        return (data[start : start + step] for start in range(0, len(data), max(1, step)))

    def feed(self, piece: bytes) -> None:
        """Take audio, for which there may be no room yet: see `is_full`. Raises ProtocolError, also after the end."""
        self._check_open("audio")
        try:
            self._waiting.append(self._decoder.feed(piece))
        except AudioFormatError as error:
            raise ProtocolError(Code.AUDIO_FORMAT, str(error)) from error
        self.received_bytes += len(piece)
        self._pump()

    def flush(self) -> None:
        self._check_open("a flush")
        self._waiting.append(_Mark.FLUSH)
        self._pump()

    def end(self) -> None:
        self._check_open("an end")
        try:
            rest = self._decoder.end()
        except AudioFormatError as error:
            raise ProtocolError(Code.AUDIO_FORMAT, str(error)) from error
        self._has_end = True
        self._waiting.extend([rest, _Mark.END])
        self._pump()

    def stop(self, code: Code, message: str) -> None:
        """End the session for this reason; words heard so far are still told. Later audio is passed over."""
        if self._stopped or self._last:
            return
        self._stopped = Failed(code.value, message)
        if not self._has_end:
            self._has_end = True
            self._waiting = deque([_Mark.END])
            self._pump()

    def close(self) -> None:
        """Give up what is not decoded yet; nobody will ask any more."""
        if self._handle:
            self._handle.close()
            self._handle = None
        if isinstance(self._decoder, ContainerDecoder):
            self._decoder.close()
        self._waiting.clear()

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

    @property
    def bytes_per_receipt(self) -> int:
        """After so much audio the client is told that it was received."""
        if self._audio is None:
            return _CONTAINER_PIECE_BYTES
        return self._audio.rate * self._audio.bytes_per_frame // _RECEIPTS_PER_SECOND

    def _check_open(self, what: str) -> None:
        if self._has_end:
            raise ProtocolError(Code.AFTER_END, f"got {what} after the end, expected a new session")

    def _be_told(self) -> None:
        self._pump()
        self.news.set()
        self.room.set()

    def _pump(self) -> None:
        """Hand on what waits, as far as there is room."""
        while self._waiting and self._handle:
            first = self._waiting[0]
            if first is _Mark.FLUSH:
                self._handle.flush()
            elif first is _Mark.END:
                self._handle.end()
            else:
                assert not isinstance(first, _Mark)
                n_taken = self._handle.submit(first)
                if n_taken < len(first):
                    self._waiting[0] = first[n_taken:]
                    return
            self._waiting.popleft()

    # Events

    def collect(self) -> None:
        """Number the events that have come."""
        for event in self._handle.events() if self._handle else []:
            if isinstance(event, Ended | Failed):
                event = self._last = self._stopped or event
                self.close()
            self._n_numbered += 1
            self._kept.append(Numbered(self._n_numbered, event))

    def after(self, seen: int) -> list[Numbered]:
        """Return the numbered events after `seen`. Raises ProtocolError when some of them are forgotten or to come."""
        if seen > self._n_numbered:
            raise ProtocolError(Code.BAD_VALUE, f"got seen {seen}, expected at most {self._n_numbered}")
        if seen < self._n_forgotten:
            raise ProtocolError(Code.RESUME_GAP, f"got seen {seen}, expected {self._n_forgotten} or more")
        return list(islice(self._kept, seen - self._n_forgotten, None))

    def acknowledge(self, seen: int) -> None:
        """Forget the events up to `seen`. Raises ProtocolError when that many have not been told."""
        if seen > self._n_numbered:
            raise ProtocolError(Code.BAD_VALUE, f"got an ack of {seen}, expected at most {self._n_numbered}")
        self._forget(seen)

    def sent(self, seq: int) -> None:
        """Forget what is too long ago: at most MAX_KEPT events that were sent are kept."""
        self._forget(seq - MAX_KEPT)

    def _forget(self, seq: int) -> None:
        while self._n_forgotten < seq:
            self._kept.popleft()
            self._n_forgotten += 1

    @property
    def last(self) -> Ended | Failed | None:
        """The event that ended the session; None before it is collected."""
        return self._last

    @property
    def is_delivered(self) -> bool:
        """Whether it is over, and every event has been acknowledged."""
        return self._last is not None and not self._kept
