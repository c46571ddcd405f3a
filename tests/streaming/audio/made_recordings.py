"""Recordings made with PyAV whose packets a test moves, drops, damages or doubles."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    AudioPacket = av.Packet[av.AudioStream]
else:
    AudioPacket = av.Packet

Channel = NDArray[np.float64]
Change = Callable[[float], float | None]
"""What becomes of a packet that starts so many seconds in: another start, or None for no packet."""

RATE = 48_000


def tone(duration_s: float, hertz: float = 440.0, rate: int = RATE) -> Channel:
    """A tone of a fifth of full scale: (n,)."""
    return np.asarray(0.2 * np.sin(2 * np.pi * hertz * np.arange(round(duration_s * rate)) / rate))


def unchanged(start_s: float) -> float | None:
    return start_s


def gap(from_s: float, to_s: float) -> Change:
    """No packets that start in there."""
    return lambda start_s: None if from_s <= start_s < to_s else start_s


def write_tracks(
    path: Path,
    tracks: Sequence[Sequence[Channel]],
    codec: str = "libopus",
    *,
    change: Change = unchanged,
    languages: Sequence[str] = (),
    default: int | None = None,
    video_s: float = 0.0,
) -> Path:
    """Write a track for each list of channels, and a black video of that length before them."""
    layouts = {1: "mono", 2: "stereo"}
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=16, height=16) if video_s else None
        streams = [
            container.add_stream(codec, rate=RATE, layout=layouts[len(channels)], format=_format_of(codec))
            for channels in tracks
        ]
        packets: list[Any] = []
        for number, (stream, channels) in enumerate(zip(streams, tracks, strict=True)):
            assert isinstance(stream, av.AudioStream)
            if number < len(languages):
                stream.metadata["language"] = languages[number]
            if default is not None:
                stream.disposition = av.stream.Disposition(int(number == default))
            packets += [packet for packet in _packets(stream, channels) if _is_changed(packet, change)]
        if video:
            assert isinstance(video, av.VideoStream)
            packets += _black(video, round(25 * video_s))
        # Only when all are encoded are all streams open.
        container.mux(packets)
    return path


def _format_of(codec: str) -> str:
    formats = av.Codec(codec, "w").audio_formats
    assert formats
    return formats[0].name


def _packets(stream: av.AudioStream, channels: Sequence[Channel]) -> Iterator[AudioPacket]:
    sample_format, layout = stream.codec_context.format.name, stream.codec_context.layout
    frame = av.AudioFrame.from_ndarray(np.stack(channels), format="dblp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    resampler = av.AudioResampler(sample_format, layout, RATE)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        yield from stream.encode(piece)
    yield from stream.encode(None)


def _is_changed(packet: AudioPacket, change: Change) -> bool:
    """Move the packet; return whether it is kept."""
    assert packet.pts is not None
    assert packet.time_base is not None
    start_s = change(float(packet.pts * packet.time_base))
    if start_s is not None:
        packet.pts = packet.dts = round(start_s / packet.time_base)
    return start_s is not None


def _black(stream: av.VideoStream, n_frames: int) -> "list[av.Packet[av.VideoStream]]":
    frames = [av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24") for _ in range(n_frames)]
    return [packet for frame in [*frames, None] for packet in stream.encode(frame)]


def heard_spans(samples: NDArray[np.float32], level: float = 0.02) -> list[tuple[float, float]]:
    """Return from when to when, in seconds, there is sound: blocks of 10 ms above that level, joined over 50 ms."""
    blocks = samples[: len(samples) - len(samples) % 160].reshape(-1, 160)
    loud = np.flatnonzero(np.sqrt(np.mean(np.square(blocks), axis=1)) > level)
    if not len(loud):
        return []
    parts = np.split(loud, np.flatnonzero(np.diff(loud) > 5) + 1)
    return [(part[0] / 100, (part[-1] + 1) / 100) for part in parts]
