"""Files that somebody else may have written: only regular ones are opened, all is read within bounds, and what they say
is quoted in one line.

It raises OSError and ValueError alone, which its callers turn into errors that say what the file should have been.
"""

import errno
import io
import json
import os
import stat
from pathlib import Path
from reprlib import Repr
from typing import Any

MOST_JSON_BYTES = 4 << 20
"""A config, an index or a header of tensors; the largest Whisper's take 0.3 MB."""
MOST_WEIGHTS_BYTES = 16 << 30
"""The largest Whisper in float32 takes 6.2 GB."""
_MOST_SHOWN = 120
_MOST_DIGITS = 400
# What file systems allow.
_LONGEST_NAME = 255
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _MOST_SHOWN


def open_regular(path: Path, most_bytes: int = MOST_WEIGHTS_BYTES) -> io.BufferedReader:
    """Open a file for reading. Raises OSError when it is missing or no regular file, ValueError when it is larger."""
    stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    found = os.fstat(stream.fileno())
    if stat.S_ISREG(found.st_mode) and found.st_size <= most_bytes:
        return stream
    stream.close()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    raise ValueError(f"got {found.st_size} bytes, expected at most {most_bytes}")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe would otherwise be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_bytes(path: Path, most_bytes: int = MOST_JSON_BYTES) -> bytes:
    """Return what is in a file. Raises as `open_regular`."""
    with open_regular(path, most_bytes) as stream:
        # It may have grown since it was opened.
        return stream.read(most_bytes)


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Return the value in a JSON file. Raises as `open_regular`, and ValueError for all that is not JSON."""
    return parse_json(read_bytes(path, most_bytes))


def parse_json(text: str | bytes) -> Any:
    """Return the value that a text says. Raises ValueError, also for values that are nested too deeply."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8"), parse_int=_whole)
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error


def _whole(digits: str) -> int:
    """Python takes time by the square of how many digits there are."""
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def shown(value: object) -> str:
    """Return what a file says as Python writes it, in one short line."""
    return one_line(_SHORT.repr(value))


def one_line(text: object, most: int = _MOST_SHOWN) -> str:
    """Return a text, or what an error says, as one line that can be printed, of at most so many characters."""
    start = str(text)[: most + 1]
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in start)
    return line if len(line) <= most else f"{line[:most]}..."


def is_plain_path(path: str, most_parts: int = 1) -> bool:
    """Whether a path stays below the directory that it is looked for in: no root, no `..`, few parts."""
    parts = path.split("/")
    is_short = len(parts) <= most_parts and max(map(len, parts)) <= _LONGEST_NAME
    return is_short and path.isprintable() and not {"", ".", ".."} & set(parts)
