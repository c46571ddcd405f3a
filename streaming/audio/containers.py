"""Audio containers that arrive as a stream of bytes (webm, ogg, mp3, fragmented mp4 ...) -> samples, through PyAV.

FFmpeg asks for bytes when it wants them, so it runs in a thread of its own; but only while `feed` or `end` waits for
it, hand in hand, so that nothing piles up and the outcome does not depend on how threads are scheduled.
"""

import threading
import weakref

import av
import numpy as np
from numpy.typing import NDArray

from simul_whisper import AudioFormatError
from streaming.audio.decoding import Decoding
from streaming.audio.files import EXPECTED_STREAM
from streaming.audio.report import notices_after, notices_before

_NAME = "audio stream"
_BUFFER_BYTES = 4096


class ContainerDecoder:
    """Bytes in, float32 (n,) mono 16 kHz in [-1, 1] out, a little behind the bytes. `close` it if it is not ended.

    Time is that of the container, as in a file: gaps are silence, as long as they are credible. An mp4 file whose index
    stands at its end cannot be streamed; it is refused.
    """

    def __init__(self) -> None:
        self._pipe = _Pipe()
        self._thread = threading.Thread(target=_decode, args=(self._pipe,), name="container decoder", daemon=True)
        self._thread.start()
        # The thread waits for bytes as long as the pipe is open, also when the decoder has been forgotten.
        weakref.finalize(self, self._pipe.close)

    def feed(self, data: bytes | bytearray | memoryview) -> NDArray[np.float32]:
        """Return the samples that can be told now. Raises AudioFormatError when the bytes are no audio."""
        self._pipe.give(bytes(data))
        return self._pipe.taken()

    def end(self) -> NDArray[np.float32]:
        """Return the rest. Raises AudioFormatError as `feed` does, and when there was no audio at all."""
        self.close()
        return self._pipe.taken()

    def notices(self) -> list[str]:
        """Return, in words, what there is to tell a user, such as damage; all of it is known after the end."""
        return self._pipe.notices

    def close(self) -> None:
        """End the thread; what was not returned is given up."""
        self._pipe.close()
        self._thread.join()


class _Pipe:
    """Bytes one way and samples the other; whoever gives bytes waits until they are used up."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._data = bytearray()
        self._blocks: list[NDArray[np.float32]] = []
        self._error: AudioFormatError | None = None
        self.notices: list[str] = []
        self._is_closed = self._is_done = self._is_hungry = False

    def give(self, data: bytes) -> None:
        with self._changed:
            self._data += data
            self._is_hungry = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_hungry or self._is_done)

    def taken(self) -> NDArray[np.float32]:
        """Return the samples since the last call, or raise what has ended them."""
        with self._changed:
            blocks, self._blocks = self._blocks, []
            if not blocks and self._error:
                raise self._error
            return np.concatenate([np.zeros(0, np.float32), *blocks])

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def read(self, n_bytes: int) -> bytes:
        """What FFmpeg calls: at most `n_bytes` bytes, none at the end."""
        with self._changed:
            if not self._data:
                self._is_hungry = True
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._data or self._is_closed)
            data = bytes(self._data[:n_bytes])
            del self._data[:n_bytes]
            return data

    def put(self, block: NDArray[np.float32]) -> None:
        with self._changed:
            self._blocks.append(block)

    def done(self, error: AudioFormatError | None) -> None:
        with self._changed:
            self._is_done, self._error = True, error
            self._changed.notify_all()


def _decode(pipe: _Pipe) -> None:
    """The thread: reads the pipe until it is closed."""
    error: AudioFormatError | None = None
    try:
        with av.open(pipe, "r", buffer_size=_BUFFER_BYTES) as container:
            decoding = Decoding(container, _NAME, has_end=False)
            for block in decoding.blocks():
                pipe.put(block[0])
            pipe.notices = [*notices_before(decoding.report), *notices_after(decoding.report)]
    except av.FFmpegError as unreadable:
        error = AudioFormatError(f"{_NAME}: {unreadable.strerror}; {EXPECTED_STREAM}")
    except AudioFormatError as refused:
        error = refused
    finally:
        pipe.done(error)
