"""One container in a process of its own, which may open nothing and has limits of memory and time.

It reads pieces from a socket and writes samples into it, and ends when nobody is at its other end any more. It knows
nothing of how it was started.
"""

import errno
import io
import os
import resource
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import av
import numpy as np

from simul_whisper import AudioFormatError
from streaming.audio.decoder_messages import MOST_BYTES, PIECE_HEADER, POSITION, WHOLE, Kind, message, shortened
from streaming.audio.decoding import Decoding, Samples
from streaming.audio.files import EXPECTED_FILE, EXPECTED_STREAM
from streaming.audio.formats import open_listed, reason_of
from streaming.audio.report import notices_after, notices_before

STREAM, RECORDING = "audio stream", "recording"
_BUFFER_BYTES = 4_096
_MOST_SAMPLES = MOST_BYTES // 4
# What a container may need beyond what the process has at its start, and what a piece may cost.
MEMORY_BYTES = 96 * 2**20
CPU_S_PER_PIECE = 5
# So that inference, for which everybody waits, comes first.
_NICENESS = 15
_WARM_UP_RATE = 44_100


def run_child(pieces: socket.socket) -> NoReturn:
    """Decode what comes by the socket, and end the process."""
    limit_process()
    child = _Child(pieces)
    try:
        child.decode()
    except MemoryError:
        child.say(Kind.REFUSED, shortened(f"{child.name}: it needs too much memory; send it in another format"))
    except av.FFmpegError as error:
        child.say(Kind.REFUSED, shortened(f"{child.name}: {reason_of(error)}; {child.expected}"))
    except AudioFormatError as error:
        child.say(Kind.REFUSED, shortened(str(error)))
    os._exit(0)


def warm_up() -> None:
    """Decode something, so that all is loaded by the time when nothing can be opened any more."""
    samples = np.sin(np.arange(_WARM_UP_RATE)).astype("<f4")
    stereo = np.stack([samples, -samples], axis=1).tobytes()
    form = struct.pack("<HHIIHH", 3, 2, _WARM_UP_RATE, 8 * _WARM_UP_RATE, 8, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(stereo)) + stereo
    for data in (b"RIFF" + struct.pack("<I", len(body)) + body, b"no audio"):
        with suppress(av.FFmpegError), open_listed(io.BytesIO(data)) as container:
            decoding = Decoding(container, STREAM, has_end=False)
            assert sum(block.shape[1] for block in decoding.blocks())
            notices_after(decoding.report)


def limit_process() -> None:
    """Nothing can be opened from here on, nor can a file grow; memory is limited where the system does that."""
    os.nice(_NICENESS)
    size_bytes = _size_bytes()
    if size_bytes is not None:
        _limit(resource.RLIMIT_AS, size_bytes + MEMORY_BYTES)
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE):
        _limit(kind, 0)
    _limit_time()


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _limit_time() -> None:
    """The process is killed when the next piece costs too much."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most_s = int(time.process_time()) + 1 + CPU_S_PER_PIECE
    resource.setrlimit(resource.RLIMIT_CPU, (most_s if hard == resource.RLIM_INFINITY else min(most_s, hard), hard))


def _size_bytes() -> int | None:
    """Return how much address space the process has; None where it is not written, and not limited either."""
    try:
        n_pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except OSError:
        return None
    return n_pages * resource.getpagesize()


class _Child:
    """Both directions of the socket. name: what is decoded, for errors; expected: what it might have been."""

    def __init__(self, pieces: socket.socket) -> None:
        self._socket = pieces
        (self._n_bytes,) = WHOLE.unpack(self._received(WHOLE.size))
        self.name, self.expected = (RECORDING, EXPECTED_FILE) if self._n_bytes else (STREAM, EXPECTED_STREAM)

    def decode(self) -> None:
        file = _Recording(self, self._n_bytes) if self._n_bytes else _Stream(self)
        with open_listed(file, buffer_size=_BUFFER_BYTES) as container:
            decoding = Decoding(container, self.name, has_end=False)
            for block in decoding.blocks():
                self._tell(block[0])
            told = [*notices_before(decoding.report), *notices_after(decoding.report)]
            self.say(Kind.DONE, shortened("\n".join(each.replace("\n", " ") for each in told)))

    def piece(self, position: int) -> bytes:
        """Return what comes from there on; nothing at the end."""
        self.say(Kind.HUNGRY, POSITION.pack(position))
        (length,) = PIECE_HEADER.unpack(self._received(PIECE_HEADER.size))
        data = self._received(length)
        _limit_time()
        return data

    def say(self, kind: Kind, content: bytes = b"") -> None:
        """Wait until there is room for it; end the process when nobody listens."""
        try:
            self._socket.sendall(message(kind, content))
        except OSError:
            os._exit(0)

    def _tell(self, samples: Samples) -> None:
        for start in range(0, len(samples), _MOST_SAMPLES):
            self.say(Kind.SAMPLES, samples[start : start + _MOST_SAMPLES].tobytes())

    def _received(self, n_bytes: int) -> bytes:
        data = bytearray()
        while len(data) < n_bytes:
            part = self._socket.recv(n_bytes - len(data))
            if not part:
                os._exit(0)
            data += part
        return bytes(data)


class _Stream:
    """What FFmpeg reads a stream by: from its beginning to its end."""

    def __init__(self, child: _Child) -> None:
        self._child = child
        self._piece = b""
        self._position = 0
        self._has_end = False

    def read(self, n_bytes: int) -> bytes:
        """What FFmpeg calls: at most `n_bytes` bytes, none at the end."""
        if not self._piece and not self._has_end:
            self._piece = self._child.piece(self._position)
            self._has_end = not self._piece
        data, self._piece = self._piece[:n_bytes], self._piece[n_bytes:]
        self._position += len(data)
        return data


class _Recording(_Stream):
    """What FFmpeg reads a recording by, which is there as a whole: from wherever it likes."""

    def __init__(self, child: _Child, n_bytes: int) -> None:
        super().__init__(child)
        self._n_bytes = n_bytes

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._n_bytes}[whence]
        if not 0 <= start + offset <= self._n_bytes:
            raise OSError(errno.EINVAL, "there is nothing of the recording")
        self._position, self._piece, self._has_end = start + offset, b"", False
        return self._position

    def tell(self) -> int:
        return self._position
