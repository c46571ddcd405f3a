"""Text files that are whole at any moment: what was flushed is on the disk, and ends where a flush ended."""

import os
import stat
from pathlib import Path

from simul_whisper import ConfigError, SimulWhisperError


class OutputError(SimulWhisperError):
    """What was written is not in the file: the disk is full, or gone. It is kept, and the next flush tries again."""


class DurableText:
    """A new text file, in UTF-8. Raises ConfigError when it cannot be made."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
        self._pending = bytearray()
        self._n_written = 0
        # Pipes and terminals can neither be synchronised nor cut.
        self._is_regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)

    def write(self, text: str, /) -> None:
        """Keep `text` for the next flush."""
        self._pending += text.encode()

    def flush(self) -> None:
        """Write what is kept, all or nothing. Raises OutputError."""
        if not self._pending:
            return
        data, n = bytes(self._pending), 0
        try:
            while n < len(data):
                n += os.write(self._file.fileno(), data[n:])
            if self._is_regular:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._undo(n)
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._n_written += len(self._pending)
        self._pending.clear()

    def close(self) -> None:
        """Close the file; what is kept and was never written is lost."""
        self._file.close()

    def _undo(self, n_bytes: int) -> None:
        """Leave no half of a line behind."""
        if self._is_regular:
            self._file.truncate(self._n_written)
            self._file.seek(self._n_written)
        else:
            del self._pending[:n_bytes]
