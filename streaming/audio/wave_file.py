"""WAV files of s16le mono that grow, and are whole after each piece, whatever happens to the program then."""

import os
import stat
import struct
from pathlib import Path

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_MOST_BYTES = 0xFFFF_FFFF


class WaveFile:
    """Raises OSError when it cannot be made, here and on `write` when it cannot be written any more."""

    def __init__(self, path: Path, rate: int) -> None:
        self._rate, self.n_samples = rate, 0
        self._file = path.open("wb", buffering=0)
        try:
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                raise OSError(0, "the length of sound is written in front of it, which needs a file")
            self.write(b"")
        except OSError:
            self._file.close()
            raise

    def write(self, pcm: bytes) -> None:
        """Add samples, and then write in front how many there are."""
        n_bytes = 2 * self.n_samples + len(pcm)
        self._put(_HEADER.size + 2 * self.n_samples, pcm)
        self.n_samples = n_bytes // 2
        self._put(0, wave_header(self._rate, n_bytes))

    def close(self) -> None:
        self._file.close()

    def _put(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file.fileno(), view) :]


def wave_header(rate: int, n_bytes: int | None) -> bytes:
    """Return that of a file with so much sound, None for nobody knows how much.

    Of a file that is too long for its fields it says the most that it can.
    """
    data_bytes, riff_bytes = _MOST_BYTES, _MOST_BYTES
    if n_bytes is not None:
        data_bytes = min(n_bytes, _MOST_BYTES - _HEADER.size)
        riff_bytes = data_bytes + _HEADER.size - 8
    return _HEADER.pack(b"RIFF", riff_bytes, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", data_bytes)
