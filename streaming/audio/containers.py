"""Audio containers that arrive as a stream of bytes (webm, ogg, mp3, fragmented mp4 ...), or as a whole -> samples.

FFmpeg decodes each in a process of its own, with limits: when it crashes, hangs or takes too much, that container is
refused, and nothing else notices. This process does not even load it.
"""

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import closing, suppress
from socket import socket

import numpy as np
from anyio import fail_after
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio.decoder_messages import (
    MESSAGE_HEADER,
    MOST_BYTES,
    PIECE_BYTES,
    WHOLE,
    Kind,
    message_header,
    piece_message,
)
from streaming.audio.decoder_processes import DecoderProcesses

logger = logging.getLogger(__name__)

# For so long a process may compute, or wait for a processor, without a sign of life.
_PATIENCE_S = 20.0
# How much audio so many bytes may stand for: an hour, and many times what a codec makes of digital silence.
MOST_S, MOST_S_PER_BYTE = 3_600.0, 0.25
# How often a recording may be read from end to end: once in most formats, with an index or a trailer a little more.
_MOST_READINGS, _SPARE_PIECES = 8, 256
PROCESSES = DecoderProcesses()

Samples = NDArray[np.float32]
Bytes = bytes | bytearray | memoryview


class ContainerDecoder:
    """Bytes in, float32 (n,) mono 16 kHz in [-1, 1] out, a little behind the bytes. `close` it in the end.

    It belongs to one event loop, and its calls follow each other. Samples that nobody takes are not decoded either.
    Time is that of the container, as in a file: gaps are silence, as long as they are credible. An mp4 file whose index
    stands at its end cannot be streamed; it is refused.

    recording: all of its bytes, for `decoded_recording`. notices: what there is to tell a user, such as damage; all of
    it is known after the end.
    """

    def __init__(
        self, processes: DecoderProcesses = PROCESSES, patience_s: float = _PATIENCE_S, *, recording: Bytes = b""
    ) -> None:
        self._processes, self._patience_s, self._recording = processes, patience_s, recording
        self._name = "recording" if recording else "audio stream"
        self._position = self._n_pieces = 0
        self._open()
        self.notices: list[str] = []
        self._n_bytes = self._n_samples = 0
        self._is_hungry = self._has_begun = self._is_done = False
        self._error: AudioFormatError | None = None

    async def feed(self, data: Bytes) -> AsyncIterator[Samples]:
        """Yield the samples that can be told now, n > 0. Raises AudioFormatError when the bytes are no audio."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            piece = bytes(view[start : start + PIECE_BYTES])
            async for samples in self._exchanged(lambda piece=piece: piece):  # type: ignore[misc]
                yield samples

    async def end(self) -> AsyncIterator[Samples]:
        """Yield the rest. Raises AudioFormatError as `feed` does, and when there was no audio at all."""
        async for samples in self._exchanged(lambda: b""):
            yield samples

    async def whole(self) -> AsyncIterator[Samples]:
        """Yield the samples of the recording. Raises AudioFormatError when it is no audio."""
        while not self._is_done:
            async for samples in self._exchanged(self._wanted_piece):
                yield samples

    def close(self) -> None:
        """End the process."""
        self._let_go()

    def _open(self) -> None:
        self._socket, number = self._processes.start()
        self._socket.setblocking(False)
        # What nobody reads is told by the first message that does not come.
        with suppress(OSError):
            self._socket.send(WHOLE.pack(len(self._recording)))
        self._unread = bytearray()
        self._let_go = weakref.finalize(self, _close, self._socket, self._processes, number)

    def _wanted_piece(self) -> bytes:
        """Return what of the recording is asked for. Raises AudioFormatError when it is asked for without end."""
        self._n_pieces += 1
        if self._n_pieces > _MOST_READINGS * len(self._recording) // PIECE_BYTES + _SPARE_PIECES:
            raise AudioFormatError(f"{self._name}: its index leads in circles; is it damaged?")
        return bytes(self._recording[self._position : self._position + PIECE_BYTES])

    async def _exchanged(self, next_piece: Callable[[], bytes]) -> AsyncIterator[Samples]:
        """Give a piece and yield what comes of it, until it is used up."""
        if self._error:
            raise self._error
        try:
            if not self._has_begun:
                await self._begin()
            if not self._is_done:
                await self._give(next_piece())
            while not (self._is_hungry or self._is_done):
                samples = await self._next()
                if samples is not None:
                    yield samples
        except AudioFormatError as error:
            self._error = error
            self.close()
            raise
        except (OSError, ValueError) as error:
            self.close()
            if not self._has_begun:
                # Its starter hangs, or cannot start any: no fault of what was sent.
                self._processes.give_up()
                raise OSError("no process to decode in has come up") from error
            self._error = self._broken(error)
            raise self._error from error

    async def _begin(self) -> None:
        """Wait for the process; for another one when the starter of the first has just died."""
        try:
            await self._next()
        except ConnectionError:
            self.close()
            self._open()
            await self._next()

    async def _give(self, piece: bytes) -> None:
        assert self._is_hungry, "samples of the piece before were not taken"
        self._is_hungry = False
        self._n_bytes += len(piece)
        await asyncio.get_running_loop().sock_sendall(self._socket, piece_message(piece))

    async def _next(self) -> Samples | None:
        """Take the next message; return its samples, if it has any."""
        kind, content = await self._message()
        self._has_begun = True
        if kind is Kind.SAMPLES:
            return self._counted(np.frombuffer(content, np.float32))
        if kind is Kind.REFUSED:
            raise AudioFormatError(content.decode("utf-8", "replace"))
        if kind is Kind.HUNGRY:
            self._position = int.from_bytes(content, "little")
        self._is_hungry, self._is_done = kind is Kind.HUNGRY, kind is Kind.DONE
        if kind is Kind.DONE:
            self.notices = content.decode("utf-8", "replace").splitlines()
        return None

    async def _message(self) -> tuple[Kind, bytes]:
        with fail_after(self._patience_s):
            kind, n_bytes = message_header(await self._received(MESSAGE_HEADER.size))
            return kind, await self._received(n_bytes)

    async def _received(self, n_bytes: int) -> bytes:
        """Raises OSError when the process is gone."""
        while len(self._unread) < n_bytes:
            part = await asyncio.get_running_loop().sock_recv(self._socket, MOST_BYTES)
            if not part:
                raise ConnectionResetError("the decoder is gone")
            self._unread += part
        data = bytes(self._unread[:n_bytes])
        del self._unread[:n_bytes]
        return data

    def _counted(self, samples: Samples) -> Samples:
        self._n_samples += len(samples)
        n_bytes = len(self._recording) or self._n_bytes
        most_s = MOST_S + MOST_S_PER_BYTE * n_bytes
        if self._n_samples > most_s * SAMPLE_RATE or not len(samples):
            raise AudioFormatError(
                f"{self._name}: its {n_bytes} bytes stand for more than {most_s:.0f} s of audio; is it damaged?"
            )
        return samples

    def _broken(self, error: OSError | ValueError) -> AudioFormatError:
        """Return what there is to say of a process that hangs or is gone, for what it was given."""
        what = "its decoder has crashed, or needed too much memory or time"
        if isinstance(error, TimeoutError):
            what = f"it takes longer than {self._patience_s:g} s to decode"
        logger.warning("a container was refused after %d bytes: %s", self._n_bytes, what)
        return AudioFormatError(f"{self._name}: {what}; send it in another format, such as flac or opus")


async def decoded_recording(
    recording: Bytes, processes: DecoderProcesses = PROCESSES, patience_s: float = _PATIENCE_S
) -> AsyncGenerator[Samples, None]:
    """Yield what a whole recording holds, also one whose index stands at its end: samples as of `ContainerDecoder`.

    Raises AudioFormatError when it is no audio, and OSError when it cannot be decoded now.
    """
    if not recording:
        raise AudioFormatError("recording: it is empty; send the audio itself")
    with closing(ContainerDecoder(processes, patience_s, recording=recording)) as decoder:
        async for samples in decoder.whole():
            yield samples


def _close(ours: socket, processes: DecoderProcesses, number: int) -> None:
    ours.close()
    processes.kill(number)
