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
    """Takes the text of one recording. is_shared: whether that of others goes to the same place.

    opened: opens it, for a part with that label; the empty one is the whole.
    """

    def __init__(self, opened: Callable[[str], Writable], *, is_shared: bool, label: str = "") -> None:
        self._opened, self.is_shared, self._label = opened, is_shared, label
        self._stream: Writable | None = None

    def labelled(self, label: str) -> "Destination":
        """Return where a part goes that has a file of its own: a channel, or a translation of it."""
        joined = ".".join(each for each in (self._label, label) if each)
        return Destination(self._opened, is_shared=self.is_shared, label=joined)

    def write(self, text: str) -> None:
        """Write at once; the first text, which may be empty, makes the file. Raises ConfigError and OutputError."""
        if self._stream is None:
            self._stream = self._opened(self._label)
        self._stream.write(text)
        self._stream.flush()


def destinations(
    files: ExitStack,
    output: str | None,
    format_name: str,
    sources: Sequence[str],
    *,
    by_channel: bool = False,
    targets: Sequence[str] = (),
) -> list[Destination]:
    """Return where the text of each source goes; files are closed with `files`.

    output: a file; a folder, which exists or ends with a slash; None for standard output. by_channel: captions are a
    file for each channel: `talk.left.srt` for `talk.srt`; and for each target: `talk.es.srt`.
    Raises ConfigError for what cannot be written, and for captions of several sources, channels or languages in one
    place.
    """

    def opened(path: Path, label: str = "") -> DurableText:
        return files.enter_context(closing(DurableText(labelled_path(path, label), is_synced=False)))

    is_captions = format_name in CAPTION_FORMATS
    check_captions(format_name, output, targets)
    if is_captions and by_channel and output is None:
        raise ConfigError("captions of separate channels are a file each; give --output FILE, such as talk.srt")
    if output is not None and is_folder(output):
        folder = made_folder(output)
        names = file_names(sources, SUFFIXES[format_name], targets if is_captions else ())
        return [Destination(partial(opened, folder / name), is_shared=False) for name in names]
    if is_captions and len(sources) > 1:
        raise ConfigError(
            f"the times of captions are those of one recording, so {len(sources)} files do not go into one "
            f"{format_name}; give --output DIR/ for a file each"
        )
    if is_captions and by_channel and output is not None:
        return [Destination(partial(opened, Path(output)), is_shared=False)]
    labels = ("", *targets) if is_captions else ("",)
    streams = {label: sys.stdout if output is None else opened(Path(output), label) for label in labels}
    return [Destination(streams.__getitem__, is_shared=len(sources) > 1) for _ in sources]


def check_captions(format_name: str, output: str | None, targets: Sequence[str]) -> None:
    """Raise ConfigError for captions in several languages that would go to standard output."""
    if format_name in CAPTION_FORMATS and targets and output is None:
        raise ConfigError(
            f"{format_name} holds one language, so that a translation has a file of its own; give --output FILE, such "
            f"as talk{SUFFIXES[format_name]}, or --format text"
        )


def labelled_path(path: Path, label: str) -> Path:
    """Return the path of a part: talk.es.srt."""
    return path.with_name(f"{path.stem}.{label}{path.suffix}") if label else path


def file_names(sources: Sequence[str], suffix: str, labels: Sequence[str] = ()) -> list[str]:
    """Return a file name for each source, no two alike even where case does not count: talk.srt, talk-2.srt.

    labels: of parts that have files of their own, which are like no other name either.
    """
    names = list[str]()
    taken = set[str]()
    for source in sources:
        stem, n = _stem(source), 1
        name = f"{stem}{suffix}"
        while not taken.isdisjoint(_names_of(name, labels)):
            n += 1
            name = f"{stem}-{n}{suffix}"
        taken |= _names_of(name, labels)
        names.append(name)
    return names


def _names_of(name: str, labels: Sequence[str]) -> set[str]:
    """Return the names of the whole and of its parts, as they are compared."""
    return {labelled_path(Path(name), label).name.casefold() for label in ("", *labels)}


def _stem(source: str) -> str:
    """The name of a file or of the last part of a URL, without its suffix."""
    if source == "-":
        return "stdin"
    if "://" in source:
        parts = urlsplit(source)
        return PurePosixPath(unquote(parts.path)).stem or parts.hostname or "audio"
    return Path(source).stem or "audio"


def is_folder(output: str) -> bool:
    """Whether what a flag names is a folder, not a file."""
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def made_folder(output: str) -> Path:
    """Return a folder that is there now. Raises ConfigError."""
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be made: {error.strerror}") from error
    return Path(output)
