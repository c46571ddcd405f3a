"""Text files that are whole at any moment: what was flushed is on the disk, and ends where a flush ended."""

import os
import stat
from pathlib import Path
from typing import Protocol

from simul_whisper import ConfigError, SimulWhisperError


class OutputError(SimulWhisperError):
    """Text cannot be written: the disk is full or gone, or standard output is."""


class Writable(Protocol):
    """What text is written to: any text stream, or a `DurableText`."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class DurableText:
    """A new text file, in UTF-8. Raises ConfigError when it cannot be made.

    is_synced: a flush waits until the disk has it, so that a power cut takes nothing either.
    """

    def __init__(self, path: Path | str, *, is_synced: bool = True) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
        self._pending = bytearray()
        self._tail = b""
        self._n_written = 0
        # Pipes and terminals can neither be synchronised nor cut.
        self._is_regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        self._is_synced = is_synced and self._is_regular

    def write(self, text: str, /) -> None:
        """Keep `text` for the next flush."""
        self._pending += text.encode()

    def flush(self, tail: str = "") -> None:
        """Write what is kept, all or nothing. Raises OutputError; what was kept is, and the next flush tries again.

        tail: stands at the end of the file until the next flush; devices, which cannot take it back, do not get it.
        """
        wanted = tail.encode() if self._is_regular else b""
        if not self._pending and wanted == self._tail:
            return
        try:
            self._write(bytes(self._pending) + wanted)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._n_written += len(self._pending)
        self._pending.clear()
        self._tail = wanted

    def close(self) -> None:
        """Close the file; what is kept and was never written is lost."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        """Put `data` where the tail begins. Raises OSError, and then the file is as before."""
        n = 0
        if self._is_regular:
            self._file.seek(self._n_written)
        try:
            while n < len(data):
                n += os.write(self._file.fileno(), data[n:])
            if self._is_regular:
                self._file.truncate()
            if self._is_synced:
                os.fsync(self._file.fileno())
        except OSError:
            self._undo(n)
            raise

    def _undo(self, n_bytes: int) -> None:
        """Leave no half of a line behind."""
        if self._is_regular:
            self._file.seek(self._n_written)
            # There was room for it before.
            self._file.write(self._tail)
            self._file.truncate()
        else:
            del self._pending[:n_bytes]
