"""What commands that read recordings share: flags, notices on standard error, and output that keeps channels apart."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simul_whisper import ConfigError
from streaming.audio.files import Recording, open_recording
from streaming.cli.options import add_options, options_from
from streaming.output.formats import Writable
from streaming.settings import RecordingConfig

SOURCES_HELP = "wav, flac, mp3, ogg, m4a, mp4, webm ...; - is standard input; or an http(s) URL"


def add_audio_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting of what is heard of a recording."""
    add_options(parser, RecordingConfig, "what is heard of a recording")


def audio_from(options: argparse.Namespace) -> RecordingConfig:
    """Return the settings with the flags that were given. Raises ConfigError."""
    return options_from(RecordingConfig, options)


@contextmanager
def opened_recording(source: str, config: RecordingConfig) -> Iterator[Recording]:
    """Open a recording and tell, on standard error, what there is to know of it, each thing once. Raises as it does."""
    with open_recording(source, config) as recording:
        try:
            _tell(recording)
            yield recording
        finally:
            _tell(recording)


def _tell(recording: Recording) -> None:
    for notice in recording.notices():
        print(f"simul-whisper: {notice}", file=sys.stderr)


def file_of_channel(output: str | None, label: str) -> Path:
    """Return where the captions of one channel are written: `talk.left.srt` for `talk.srt`. Raises ConfigError."""
    if output is None:
        raise ConfigError("captions of separate channels are a file each; give --output FILE, such as talk.srt")
    path = Path(output)
    return path.with_name(f"{path.stem}.{label}{path.suffix}")


class Speakers:
    """Several speakers who write on one stream: a line of text, or a row of JSON, belongs to one and has its label."""

    def __init__(self, stream: Writable) -> None:
        self.stream = stream
        self.open_label: str | None = None

    def lines(self, label: str) -> Writable:
        """Return what one speaker writes text on; it begins a line wherever another has written."""
        return _Lines(self, label)

    def rows(self, label: str) -> Writable:
        """Return what one speaker writes JSON lines on; they get a field `channel`."""
        return _Rows(self.stream, label)


class _Lines:
    def __init__(self, speakers: Speakers, label: str) -> None:
        self._speakers, self._label = speakers, label

    def write(self, text: str, /) -> None:
        for line in text.splitlines(keepends=True):
            self._write(line)

    def flush(self) -> None:
        self._speakers.stream.flush()

    def _write(self, line: str) -> None:
        speakers = self._speakers
        if speakers.open_label != self._label:
            # Another has ended this line already.
            if not line.strip():
                return
            ended = "" if speakers.open_label is None else "\n"
            line = f"{ended}{self._label}: {line.lstrip()}"
        speakers.stream.write(line)
        speakers.open_label = None if line.endswith("\n") else self._label


class _Rows:
    def __init__(self, stream: Writable, label: str) -> None:
        self._stream, self._label = stream, label

    def write(self, text: str, /) -> None:
        for line in text.splitlines():
            self._stream.write(json.dumps({"channel": self._label, **json.loads(line)}, ensure_ascii=False) + "\n")

    def flush(self) -> None:
        self._stream.flush()
