"""Recordings as samples, from files, standard input and http(s): any container, codec, rate and channel count becomes
16 kHz, in the time that a player shows.

It knows where recordings are and nothing of streams of words, models or pacing.
"""

import errno
import logging
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from simul_whisper import AudioFormatError, ConfigError
from streaming.audio.decoding import Decoding
from streaming.audio.formats import is_unlisted, open_listed, open_listed_url, reason_of
from streaming.audio.report import Report, notices_after, notices_before
from streaming.settings import RecordingConfig

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
EXPECTED_FILE = "expected a wav, flac, mp3, ogg, m4a, mp4, webm or aiff file"
EXPECTED_STREAM = "expected webm, ogg, mp3, flac, wav, or mp4 with its index in front"
_URL = re.compile(r"https?://", re.IGNORECASE)
_OTHER_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# What stands at an address may name what it likes; files of this machine and other protocols are not opened for it.
_URL_PROTOCOLS = "http,https,httpproxy,tcp,tls,crypto"
_URL_OPTIONS = {"reconnect": "1"}
_PIPE_BYTES = 4_096
_URL_TIMEOUT_S = (20.0, 60.0)

Samples = NDArray[np.float32]


def read_audio(path: Path | str, config: RecordingConfig | None = None) -> Samples:
    """Return the whole file as float32 (n,), mono, 16 kHz, in [-1, 1], n > 0. Raises as `audio_blocks` does."""
    return np.concatenate(list(audio_blocks(path, config)))


def audio_blocks(path: Path | str, config: RecordingConfig | None = None) -> Iterator[Samples]:
    """Yield the file piece by piece: float32 (n,), mono, 16 kHz, in [-1, 1], n > 0 and as the codec has it.

    Holds one piece in memory. What a user should know, such as damage, is logged as a warning.
    Raises AudioFormatError, at the first piece, for a file that is missing, unreadable or not audio, or holds none, or
    not the track or channel of `config`; ConfigError when that separates channels, see `Recording`.
    """
    with open_recording(Path(path), config) as recording:
        if len(recording.sources) > 1:
            raise ConfigError("channels = separate gives several streams; open_recording returns each of them")
        yield from recording.sources[0].blocks
        for notice in recording.notices():
            logger.warning("%s", notice)


def chunked(blocks: Iterable[Samples], chunk_samples: int) -> Iterator[Samples]:
    """Cut `blocks` anew: each float32 (chunk_samples,), the last one shorter if it must be, none empty."""
    held: list[Samples] = []
    n_held = 0
    for block in blocks:
        held.append(block)
        n_held += len(block)
        if n_held >= chunk_samples:
            joined = np.concatenate(held)
            n_whole = n_held - n_held % chunk_samples
            yield from joined[:n_whole].reshape(-1, chunk_samples)
            held, n_held = [joined[n_whole:]], n_held - n_whole
    if n_held:
        yield np.concatenate(held)


@dataclass(frozen=True)
class Source:
    """What is heard in one place. label: `left`, `right` or such; empty when there is nothing to tell apart.

    blocks: float32 (n,), mono, 16 kHz, in [-1, 1], n > 0; to be read once.
    """

    label: str
    blocks: Iterator[Samples]


class Recording:
    """An open recording; close it, or use it in a `with`.

    sources: one, or one for each channel where `config` separates them. They come from one decoding, and have the same
    length: read them in turns, because what one has read and another has not is kept in memory. Their blocks raise
    AudioFormatError as `audio_blocks` does. opened: what is to be closed with it.
    """

    def __init__(
        self, container: av.container.InputContainer, name: str, config: RecordingConfig, opened: ExitStack
    ) -> None:
        self.name = name
        self._decoding = Decoding(container, name, config)
        self._blocks = self._decoding.blocks()
        self._waiting: list[deque[Samples]] = [deque() for _ in self._decoding.labels]
        self.sources = tuple(Source(label, self._read(i)) for i, label in enumerate(self._decoding.labels))
        self._has_begun = self._has_ended = False
        self._opened = opened.pop_all()

    @property
    def report(self) -> Report:
        """How the recording was read so far."""
        return self._decoding.report

    def notices(self) -> list[str]:
        """Return, in words, what there is to tell a user and has not been told yet; ask when it is open and at the end.

        Each begins with the recording's name.
        """
        notices = [] if self._has_begun else notices_before(self.report)
        self._has_begun = True
        if self._has_ended:
            self._has_ended = False
            notices += notices_after(self.report)
        return [f"{self.name}: {notice}" for notice in notices]

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, channel: int) -> Iterator[Samples]:
        waiting = self._waiting[channel]
        while waiting or self._decode():
            yield waiting.popleft()

    def _decode(self) -> bool:
        """Read one block more for all; return whether there was one."""
        block = next(self._blocks, None)
        if block is None:
            self._has_ended = True
            return False
        for waiting, samples in zip(self._waiting, block, strict=True):
            waiting.append(samples)
        return True


def open_recording(source: Path | str, config: RecordingConfig | None = None) -> Recording:
    """Open a file; "-" for standard input, or an http(s) URL. A Path is a file whatever its name.

    Raises AudioFormatError for what is missing, unreadable or not audio, or has not the track or channel of `config`.
    """
    config = config or RecordingConfig()
    with ExitStack() as opened:
        name, container = _opened(source, config.any_format, opened)
        opened.callback(container.close)
        return Recording(container, name, config, opened)


def _opened(source: Path | str, any_format: bool, opened: ExitStack) -> tuple[str, av.container.InputContainer]:
    """Return a name for errors and the container; what else has to be closed is left to `opened`."""
    if source == STANDARD_INPUT:
        return "standard input", _open_standard_input(any_format)
    if isinstance(source, str) and _URL.match(source):
        return source, _open_url(source, any_format)
    return str(source), _open_file(source, any_format, opened)


def _open_file(path: Path | str, any_format: bool, opened: ExitStack) -> av.container.InputContainer:
    other = _OTHER_URL.match(str(path)) if isinstance(path, str) else None
    if other and not Path(path).exists():
        raise AudioFormatError(f"{path}: {other[1]} URLs cannot be opened; give an http or https URL, or a file")
    try:
        if any_format:
            # The prefix keeps FFmpeg from taking a name for a URL or a device.
            return av.open(f"file:{path}", "r")
        return open_listed(opened.enter_context(Path(path).open("rb", buffering=0)))
    except av.FFmpegError as error:
        raise AudioFormatError(f"{path}: {reason_of(error)}; {EXPECTED_FILE}{_asking(error)}") from error
    except OSError as error:
        raise AudioFormatError(f"{path}: {error.strerror}") from error


def _asking(error: av.FFmpegError) -> str:
    return "; --any-format opens whatever FFmpeg knows" if is_unlisted(error) else ""


def _open_url(url: str, any_format: bool) -> av.container.InputContainer:
    scheme, rest = url.split(":", 1)
    address, options = f"{scheme.lower()}:{rest}", _URL_OPTIONS | {"protocol_whitelist": _URL_PROTOCOLS}
    try:
        if any_format:
            return av.open(address, "r", options=options, timeout=_URL_TIMEOUT_S)
        return open_listed_url(address, options, _URL_TIMEOUT_S)
    except (av.InvalidDataError, av.ArgumentError) as error:
        raise AudioFormatError(f"{url}: {reason_of(error)}; {EXPECTED_FILE}{_asking(error)}") from error
    except av.ExitError as error:
        raise AudioFormatError(f"{url}: cannot be opened: no answer in {_URL_TIMEOUT_S[0]:g} s") from error
    except av.FFmpegError as error:
        # All that FFmpeg says of a host that it does not find.
        hint = "; is the address right, and is there a network?" if error.errno == errno.EIO else ""
        raise AudioFormatError(f"{url}: cannot be opened: {error.strerror}{hint}") from error


def _open_standard_input(any_format: bool) -> av.container.InputContainer:
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioFormatError("standard input is a terminal; pipe audio into it, or name a file")
    try:
        file: Any = sys.stdin.buffer if sys.stdin.buffer.seekable() else _Pipe(sys.stdin.fileno())
        open_any: Callable[..., av.container.InputContainer] = av.open if any_format else open_listed
        return open_any(file, buffer_size=_PIPE_BYTES)
    except av.FFmpegError as error:
        raise AudioFormatError(f"standard input: {reason_of(error)}; {EXPECTED_STREAM}{_asking(error)}") from error


class _Pipe:
    """What FFmpeg reads a pipe by: as much as there is, so that what was said already is heard already."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, n_bytes: int) -> bytes:
        return os.read(self._descriptor, n_bytes)
