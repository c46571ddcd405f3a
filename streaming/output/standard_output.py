"""Standard output that any text can be written to, and whose troubles say so, whatever writes to it.

Python has a traceback for a letter that the terminal lacks, for a full disk, and for a standard output that is closed.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from streaming.output.durable import OutputError

_REPLACING = "simul_whisper_replace"
_EXPLICIT = "PYTHONIOENCODING"


@contextmanager
def checked_output() -> Iterator[None]:
    """Let `print` and all else write to a standard output that is checked; what is left is written at the end.

    Letters that its encoding lacks are written as `?`, which standard error tells once; where only the C locale says
    ASCII, it is UTF-8. Raises OutputError when it is closed, full or gone, and BrokenPipeError when its reader is.
    A standard output that a program has put in the place of Python's own is left alone.
    """
    before = sys.stdout
    if before is not sys.__stdout__:
        yield
        return
    if before is not None:
        before.flush()
    device = _Device(None if before is None else before.fileno())
    checked = io.TextIOWrapper(
        io.BufferedWriter(device), _encoding(before), _replacing(), line_buffering=device.isatty()
    )
    sys.stdout = checked
    try:
        yield
    finally:
        try:
            checked.flush()
        finally:
            # The interpreter tries again when it ends.
            device.is_lost = True
            sys.stdout = before


class _Device(io.RawIOBase):
    """Bytes to a file descriptor; None: it is closed. Once it is lost, which is told once, all goes nowhere."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self.is_lost = False

    def fileno(self) -> int:
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor

    def isatty(self) -> bool:
        return self._descriptor is not None and os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self.is_lost:
            return len(data)
        if self._descriptor is None:
            self.is_lost = True
            raise OutputError("standard output is closed; nothing can be written")
        try:
            return os.write(self._descriptor, data)
        except BrokenPipeError:
            self.is_lost = True
            raise
        except OSError as error:
            self.is_lost = True
            raise OutputError(f"standard output: cannot be written: {error.strerror}") from error


def _encoding(stream: "io.TextIOWrapper | object | None") -> str:
    named = getattr(stream, "encoding", None) or "utf-8"
    is_ascii = codecs.lookup(named).name == "ascii"
    # The C locale says nothing of what the terminal can show.
    return "utf-8" if is_ascii and not os.environ.get(_EXPLICIT) else named


def _replacing() -> str:
    """Return the name of what is done with letters that an encoding lacks."""
    is_told = False

    def replaced(error: UnicodeError) -> tuple[str, int]:
        nonlocal is_told
        if not isinstance(error, UnicodeEncodeError):
            raise error
        if not is_told:
            is_told = True
            print(
                f"simul-whisper: standard output is {error.encoding}, which lacks letters of this text; they are "
                f"written as ?. For all letters: {_EXPLICIT}=utf-8, or --output FILE",
                file=sys.stderr,
            )
        return "?" * (error.end - error.start), error.end

    codecs.register_error(_REPLACING, replaced)
    return _REPLACING
