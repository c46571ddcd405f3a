"""Where `transcribe` writes: standard output, one file for all recordings, or a folder with a file for each."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from simul_whisper import ConfigError
from streaming.output.durable import DurableText, Writable
from streaming.output.formats import CAPTION_FORMATS, SUFFIXES


class Destination:
    """Takes the text of one recording. is_shared: whether that of others goes to the same place."""

    def __init__(self, opened: Callable[[], Writable], *, is_shared: bool) -> None:
        self._opened, self.is_shared = opened, is_shared
        self._stream: Writable | None = None

    def write(self, text: str) -> None:
        """Write at once; the first text, which may be empty, makes the file. Raises ConfigError and OutputError."""
        if self._stream is None:
            self._stream = self._opened()
        self._stream.write(text)
        self._stream.flush()


def destinations(files: ExitStack, output: str | None, format_name: str, sources: Sequence[str]) -> list[Destination]:
    """Return where the text of each source goes; files are closed with `files`.

    output: a file; a folder, which exists or ends with a slash; None for standard output.
    Raises ConfigError for what cannot be written, and for captions of several sources in one place.
    """

    def opened(path: Path) -> DurableText:
        return files.enter_context(closing(DurableText(path, is_synced=False)))

    if output is not None and _is_folder(output):
        folder = _made(output)
        names = file_names(sources, SUFFIXES[format_name])
        return [Destination(partial(opened, folder / name), is_shared=False) for name in names]
    if len(sources) > 1 and format_name in CAPTION_FORMATS:
        raise ConfigError(
            f"got {len(sources)} files for one {format_name}, expected one: the times of captions are those of one "
            "recording; give --output DIR/ for a file each"
        )
    stream = sys.stdout if output is None else opened(Path(output))
    return [Destination(lambda: stream, is_shared=len(sources) > 1) for _ in sources]


def file_names(sources: Sequence[str], suffix: str) -> list[str]:
    """Return a file name for each source, no two alike even where case does not count: talk.srt, talk-2.srt."""
    names = list[str]()
    taken = set[str]()
    for source in sources:
        stem, n = _stem(source), 1
        name = f"{stem}{suffix}"
        while name.casefold() in taken:
            n += 1
            name = f"{stem}-{n}{suffix}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _stem(source: str) -> str:
    """The name of a file or of the last part of a URL, without its suffix."""
    if source == "-":
        return "stdin"
    if "://" in source:
        parts = urlsplit(source)
        return PurePosixPath(unquote(parts.path)).stem or parts.hostname or "audio"
    return Path(source).stem or "audio"


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def _made(output: str) -> Path:
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be made: {error.strerror}") from error
    return Path(output)
