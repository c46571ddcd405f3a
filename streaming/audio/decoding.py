"""An open container -> samples in true time: packets, timestamps and damage, through PyAV.

Time counts from the container's start, as players show it: gaps become silence, overlaps are cut, and silence stands in
for what cannot be decoded. It knows nothing of where containers come from.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Union

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio.mixing import Mixer, labels_of
from streaming.audio.report import Report, Span, add_span
from streaming.audio.timeline import Piece, Place, Timeline, without_outliers
from streaming.audio.tracks import Track, choose_track
from streaming.settings import RecordingConfig

Samples = NDArray[np.float32]
# What FFmpeg calls the channels (FL, FR ...), and float32 (n_channels, n) at 16 kHz in [-1, 1], n > 0.
_Channels = tuple[tuple[str, ...], Samples]
_FramePiece = Piece[av.AudioFrame]
_Timed = Union["av.Packet[AudioStream]", av.AudioFrame]

# Integers, because swresample clips them to full scale; packed, because PyAV hands out eight planes at most.
_SAMPLE_FORMAT = "s32"
_FULL_SCALE = np.float32(2**31)
_SILENCE_SAMPLES = 10 * SAMPLE_RATE
# These have no timestamps: FFmpeg counts the packets, and what it cannot read is one, however long.
_COUNTING_FORMATS = {"mp3", "aac", "ac3", "eac3", "dts", "loas", "truehd", "mlp", "amr"}
_MUCH_LARGER = 2
# Bytes between two packets that are in neither: more than a container's own.
_MIN_HOLE_BYTES, _MIN_HOLE_PACKETS = 1_000, 4
# Ogg puts this many packets, of a second, before it notices a hole.
_PACKETS_AFTER_HOLE = 100
_MIN_MISSING_END_S = 1.0


class Decoding:
    """What one track of an open container holds. Errors begin with `name`.

    has_end: whether what the container says of its length is to be believed. Raises AudioFormatError when there is no
    such track or channel.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        name: str,
        config: RecordingConfig | None = None,
        *,
        has_end: bool = True,
    ) -> None:
        self._container, self._name, self._config = container, name, config or RecordingConfig()
        streams, tracks = _tracks(container)
        if not container.streams.audio:
            raise AudioFormatError(f"{name}: got no audio stream")
        track = choose_track(tracks, self._config.track, name)
        self._stream = streams[tracks.index(track)]
        if self._stream.codec_context.name == "flac":
            # Its checksum tells sound from noise; other codecs' checks refuse what plays well.
            self._stream.codec_context.options = {"err_detect": "crccheck+explode"}
        self.labels = self._labels()
        self._report = Report(tuple(tracks), track)
        self._timeline = Timeline(_declared_end_s(container, self._stream) if has_end else None)
        self._undecoded: list[Span] = []
        self._without_audio: list[Span] = []
        self._opposite_s = 0.0
        self._broke_off = ""

    @property
    def report(self) -> Report:
        """What there is to tell so far."""
        return replace(
            self._report,
            duration_s=max([self._timeline.end_s, *(span.end_s for span in self._undecoded)]),
            undecoded=tuple(self._undecoded),
            without_audio=tuple(self._without_audio),
            jumps=tuple(self._timeline.jumps),
            opposite_s=self._opposite_s,
            broke_off=self._broke_off,
        )

    def blocks(self) -> Iterator[Samples]:
        """Yield what is heard, piece by piece: float32 (n_labels, n) at 16 kHz in [-1, 1], n > 0. Only once.

        Raises AudioFormatError when there is not one sample, and for channels that cannot be resampled.
        """
        is_empty = True
        mixer: Mixer | None = None
        for names, channels in self._channels():
            if mixer is None or names != mixer.names:
                yield from self._mixed_rest(mixer)
                mixer = Mixer(names)
            heard = self._chosen(channels, mixer)
            if heard.shape[1]:
                is_empty = False
                yield heard
        for rest in self._mixed_rest(mixer):
            is_empty = False
            yield rest
        if is_empty:
            raise AudioFormatError(f"{self._name}: got audio without a single sample")
        self._note_missing_end()

    def _labels(self) -> tuple[str, ...]:
        labels = labels_of(self._stream.codec_context.layout.nb_channels)
        if self._config.channels == "mix":
            return ("",)
        if self._config.channels == "separate":
            return labels
        if int(self._config.channels) > len(labels):
            raise AudioFormatError(f"{self._name}: got no channel {self._config.channels}; it has {len(labels)}")
        return ("",)

    def _chosen(self, channels: Samples, mixer: Mixer) -> Samples:
        if self._config.channels == "mix":
            return mixer.feed(channels)
        wanted = range(len(self.labels)) if self._config.channels == "separate" else [int(self._config.channels) - 1]
        # A part of a joined recording may have fewer.
        return channels[[min(channel, len(channels) - 1) for channel in wanted]]

    def _mixed_rest(self, mixer: Mixer | None) -> Iterator[Samples]:
        if mixer is not None:
            rest = mixer.end()
            self._opposite_s += mixer.opposite_s
            if rest.shape[1]:
                yield rest

    def _note_missing_end(self) -> None:
        end_s = _exact_end_s(self._container, self._stream)
        if end_s is not None and end_s - self._timeline.end_s > _MIN_MISSING_END_S:
            add_span(self._undecoded, self._timeline.end_s, end_s)

    # In time

    def _channels(self) -> Iterator[_Channels]:
        """Yield what the track has, in true time."""
        run: _Run | None = None
        for piece in without_outliers(self._pieces()):
            place = self._timeline.place(piece)
            self._note(piece, place)
            frame = piece.content
            if frame is None or place.start_s == place.end_s:
                continue
            if run is None or place.is_apart or run.form != _form(frame):
                end_sample = 0
                if run is not None:
                    yield from run.end()
                    end_sample = run.end_sample
                run = _Run(frame, self._name, end_sample)
                if place.is_apart:
                    yield from run.begin(round(place.start_s * SAMPLE_RATE), round(place.cut_s * SAMPLE_RATE))
            yield from run.feed(frame)
        if run is not None:
            yield from run.end()

    def _note(self, piece: _FramePiece, place: Place) -> None:
        if place.gap_s:
            spans = self._undecoded if piece.is_damaged else self._without_audio
            add_span(spans, place.start_s - place.gap_s, place.start_s)
        if piece.content is None and place.end_s > place.start_s:
            add_span(self._undecoded, place.start_s, place.end_s)

    # Packets

    def _pieces(self) -> Iterator[_FramePiece]:
        start_us = self._container.start_time
        origin_s = None if start_us is None else start_us / 1e6
        damage = _Damage(self._container, self._stream)
        try:
            for packet in self._container.demux(self._stream):
                was_damaged = damage.is_near
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    frames = None
                counted_s = damage.uncounted_s
                duration_s = damage.lose(packet) if frames is None else damage.keep(packet)
                if origin_s is None:
                    origin_s = _seconds(packet)
                if frames is None:
                    yield Piece(None, _since(packet, origin_s, counted_s), duration_s, was_damaged)
                for frame in frames or ():
                    start_s = _since(frame, origin_s, counted_s)
                    yield Piece(frame, start_s, frame.samples / frame.sample_rate, was_damaged or damage.is_near)
        except av.FFmpegError as error:
            self._broke_off = str(error.strerror)


def _tracks(container: av.container.InputContainer) -> tuple[list[AudioStream], list[Track]]:
    streams, tracks = [], []
    for number, stream in enumerate(container.streams.audio, 1):
        # None for a codec that FFmpeg does not know.
        if stream.codec_context is None:
            continue
        language = stream.language if stream.language not in (None, "und") else ""
        title = stream.metadata.get("title", "")
        is_default = bool(stream.disposition & av.stream.Disposition.default)
        streams.append(stream)
        tracks.append(Track(number, language or "", title, is_default))
    return streams, tracks


def _declared_end_s(container: av.container.InputContainer, stream: AudioStream) -> float | None:
    """Return how long the container says that it, or the track, is; None where it does not."""
    exact_s = _exact_end_s(container, stream)
    return exact_s if exact_s is not None or container.duration is None else container.duration / 1e6


def _exact_end_s(container: av.container.InputContainer, stream: AudioStream) -> float | None:
    """Return where the track ends, if it is complete; None where that is not written, only estimated."""
    start_s = (container.start_time or 0) / 1e6
    if "mov" in container.format.name and stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start_s
    is_written = container.format.name == "flac" or "matroska" in container.format.name
    if is_written and container.duration and len(container.streams) == 1 and start_s < _MIN_MISSING_END_S:
        return container.duration / 1e6 - start_s
    return None


def _seconds(timed: _Timed) -> float | None:
    return None if timed.pts is None or timed.time_base is None else float(timed.pts * timed.time_base)


def _since(timed: _Timed, origin_s: float | None, uncounted_s: float) -> float | None:
    at_s = _seconds(timed)
    return None if at_s is None else at_s - (origin_s or 0.0) + uncounted_s


class _Damage:
    """What of a container's packets is lost, and how long that is."""

    def __init__(self, container: av.container.InputContainer, stream: AudioStream) -> None:
        self._does_count = container.format.name in _COUNTING_FORMATS
        # Else the bytes of the other streams lie between.
        self._is_alone = len(container.streams) == 1
        self._bytes_per_s = (stream.bit_rate or 0) / 8
        self._n_packets = self._n_bytes = self._largest_bytes = 0
        self._kept_s = 0.0
        self._pos: int | None = None
        self._n_near = 0
        self.uncounted_s = 0.0

    @property
    def is_near(self) -> bool:
        """Whether something was lost just before."""
        return self._n_near > 0

    def keep(self, packet: "av.Packet[AudioStream]") -> float:
        """Note a packet that was decoded; return its duration in seconds."""
        duration_s = _duration_s(packet)
        self._n_near = max(0, self._n_near - 1)
        self._look_for_hole(packet)
        self._n_packets, self._n_bytes = self._n_packets + 1, self._n_bytes + packet.size
        self._kept_s += duration_s
        self._largest_bytes = max(self._largest_bytes, packet.size)
        return duration_s

    def lose(self, packet: "av.Packet[AudioStream]") -> float:
        """Note a packet that cannot be decoded; return how many seconds it stands for."""
        duration_s = _duration_s(packet)
        self._n_near = 2
        self._look_for_hole(packet)
        rate = self._n_bytes / self._kept_s if self._kept_s else self._bytes_per_s
        if self._does_count and rate and packet.size > _MUCH_LARGER * self._largest_bytes:
            self.uncounted_s += packet.size / rate - duration_s
            return packet.size / rate
        return duration_s

    def _look_for_hole(self, packet: "av.Packet[AudioStream]") -> None:
        if packet.pos is None or not self._is_alone:
            return
        if self._pos is not None and self._n_packets:
            hole_bytes = packet.pos - self._pos
            if hole_bytes > max(_MIN_HOLE_BYTES, _MIN_HOLE_PACKETS * self._n_bytes / self._n_packets):
                self._n_near = _PACKETS_AFTER_HOLE
        # Several packets may be said to be where the first of them is.
        self._pos = max(packet.pos, self._pos or 0) + packet.size


def _duration_s(packet: "av.Packet[AudioStream]") -> float:
    return float((packet.duration or 0) * packet.time_base) if packet.time_base else 0.0


# Frames of one form


def _form(frame: av.AudioFrame) -> tuple[str, str, int]:
    """What a resampler takes one of; it changes where recordings are joined."""
    return frame.format.name, frame.layout.name, frame.sample_rate


class _Run:
    """Frames of one form without a gap between them. end_sample: where they begin, and then how far they go."""

    def __init__(self, frame: av.AudioFrame, name: str, end_sample: int) -> None:
        self.form, self._name, self.end_sample = _form(frame), name, end_sample
        self._names = tuple(channel.name for channel in frame.layout.channels)
        self._resampler = av.AudioResampler(_SAMPLE_FORMAT, frame.layout, SAMPLE_RATE)
        self._n_skipped = 0

    def begin(self, start_sample: int, n_cut: int) -> Iterator[_Channels]:
        """Yield silence up to `start_sample`, where the frames go, without their first `n_cut` samples."""
        missing = start_sample - self.end_sample
        self._n_skipped = n_cut + max(0, -missing)
        for at in range(0, missing, _SILENCE_SAMPLES):
            yield self._counted(np.zeros((len(self._names), min(_SILENCE_SAMPLES, missing - at)), np.float32))

    def feed(self, frame: av.AudioFrame) -> Iterator[_Channels]:
        return self._resampled(frame)

    def end(self) -> Iterator[_Channels]:
        return self._resampled(None)

    def _resampled(self, frame: av.AudioFrame | None) -> Iterator[_Channels]:
        try:
            pieces = self._resampler.resample(frame)
        except av.FFmpegError as error:
            raise AudioFormatError(
                f"{self._name}: got {len(self._names)} channels at {self.form[2]} Hz, "
                f"which cannot be resampled ({error.strerror}); convert to mono first"
            ) from error
        for piece in pieces:
            packed = piece.to_ndarray().reshape(-1, len(self._names)).astype(np.float32) / _FULL_SCALE
            n_skipped = min(self._n_skipped, len(packed))
            self._n_skipped -= n_skipped
            if n_skipped < len(packed):
                yield self._counted(np.ascontiguousarray(packed[n_skipped:].T))

    def _counted(self, channels: Samples) -> _Channels:
        self.end_sample += channels.shape[1]
        return self._names, channels
