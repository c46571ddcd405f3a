"""What commands that read recordings share: flags, notices on standard error, and output that keeps channels apart."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from streaming.cli.options import add_options, options_from
from streaming.settings import RecordingConfig

if TYPE_CHECKING:
    from streaming.audio.files import Recording

SOURCES_HELP = "wav, flac, mp3, ogg, m4a, mp4, webm ...; - is standard input; or an http(s) URL"


def add_audio_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting of what is heard of a recording."""
    add_options(parser, RecordingConfig, "what is heard of a recording")


def audio_from(options: argparse.Namespace) -> RecordingConfig:
    """Return the settings with the flags that were given. Raises ConfigError."""
    return options_from(RecordingConfig, options)


@contextmanager
def opened_recording(source: str, config: RecordingConfig) -> "Iterator[Recording]":
    """Open a recording and tell, on standard error, what there is to know of it, each thing once. Raises as it does."""
    # Here, because `--help` and bad flags do without FFmpeg.
    from streaming.audio.files import open_recording

    with open_recording(source, config) as recording:
        try:
            _tell(recording)
            yield recording
        finally:
            _tell(recording)


def _tell(recording: "Recording") -> None:
    for notice in recording.notices():
        print(f"simul-whisper: {notice}", file=sys.stderr)


class Speakers:
    """Several speakers who write text in one place: a line belongs to one, and begins with the label."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.open_label: str | None = None

    def lines(self, label: str) -> Callable[[str], None]:
        """Return what one of them writes with; it begins a line wherever another has written."""
        return partial(self._write_lines, label)

    def _write_lines(self, label: str, text: str) -> None:
        for line in text.splitlines(keepends=True):
            self._write_line(label, line)

    def _write_line(self, label: str, line: str) -> None:
        if self.open_label != label:
            # Another has ended this line already.
            if not line.strip():
                return
            ended = "" if self.open_label is None else "\n"
            line = f"{ended}{label}: {line.lstrip()}"
        self.write(line)
        self.open_label = None if line.endswith("\n") else label
