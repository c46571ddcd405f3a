"""Audio files as samples, through PyAV: any container, codec, rate and channel count becomes mono at 16 kHz.

It knows files and nothing of streams, models or pacing.
"""

import logging
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError

logger = logging.getLogger(__name__)

# swresample scales a mixdown to full scale for integers only; float output of two equal channels is 3 dB too loud.
_SAMPLE_FORMAT = "s32"
_FULL_SCALE = np.float32(2**31)


def read_audio(path: Path | str) -> NDArray[np.float32]:
    """Return the whole file as float32 (n,), mono, 16 kHz, in [-1, 1], n > 0. Raises as `audio_blocks` does."""
    return np.concatenate(list(audio_blocks(path)))


def audio_blocks(path: Path | str) -> Iterator[NDArray[np.float32]]:
    """Yield the file piece by piece: float32 (n,), mono, 16 kHz, in [-1, 1], n > 0 and as the codec has it.

    Holds one piece in memory. Damaged packets are left out with a logged warning.
    Raises AudioFormatError, at the first piece, for a file that is missing, unreadable or not audio, or holds none;
    at any piece, for channels that cannot be mixed.
    """
    with _open(Path(path)) as container:
        yield from container_blocks(container, str(path))


def container_blocks(container: av.container.InputContainer, name: str) -> Iterator[NDArray[np.float32]]:
    """Yield what an open container holds, as `audio_blocks` does; errors and warnings begin with `name`."""
    is_empty = True
    for frames in _alike(_decoded(container, name)):
        for block in _resampled(frames, name):
            is_empty = False
            yield block
    if is_empty:
        raise AudioFormatError(f"{name}: got audio without a single sample")


def chunked(blocks: Iterable[NDArray[np.float32]], chunk_samples: int) -> Iterator[NDArray[np.float32]]:
    """Cut `blocks` anew: each float32 (chunk_samples,), the last one shorter if it must be, none empty."""
    held: list[NDArray[np.float32]] = []
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


def _open(path: Path) -> av.container.InputContainer:
    try:
        # The prefix keeps FFmpeg from taking a name for a URL or a device.
        return av.open(f"file:{path}", "r")
    except av.FFmpegError as error:
        raise AudioFormatError(
            f"{path}: {error.strerror}; expected a wav, flac, mp3, ogg, m4a, mp4, webm or aiff file"
        ) from error


def _decoded(container: av.container.InputContainer, name: str) -> Iterator[av.AudioFrame]:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise AudioFormatError(f"{name}: got no audio stream")
    n_damaged = 0
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.InvalidDataError:
                n_damaged += 1
    except av.FFmpegError as error:
        logger.warning("%s: cannot be read to its end (%s)", name, error)
    if n_damaged:
        logger.warning("%s: left out %d damaged packets", name, n_damaged)


def _alike(frames: Iterable[av.AudioFrame]) -> Iterator[Iterator[av.AudioFrame]]:
    """Split where the form changes, as it does in joined mp3 files: a resampler takes one form."""
    for _, group in groupby(frames, key=lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate)):
        yield group


def _resampled(frames: Iterable[av.AudioFrame], name: str) -> Iterator[NDArray[np.float32]]:
    resampler = av.AudioResampler(_SAMPLE_FORMAT, "mono", SAMPLE_RATE)
    for frame in chain(frames, [None]):
        try:
            resampled = resampler.resample(frame)
        except av.FFmpegError as error:
            assert frame is not None
            raise AudioFormatError(
                f"{name}: got {frame.layout.nb_channels} channels at {frame.sample_rate} Hz, "
                "which cannot be mixed down; convert to mono first"
            ) from error
        for piece in resampled:
            yield piece.to_ndarray()[0].astype(np.float32) / _FULL_SCALE
