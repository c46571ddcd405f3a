"""An open container -> samples in true time, through PyAV.

Time counts from the container's start, as players show it: gaps become silence, overlaps are cut, and silence stands in
for what cannot be decoded. It knows nothing of where containers come from.
"""

from collections.abc import Iterator
from dataclasses import replace

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio.mixing import Mixer, labels_of
from streaming.audio.packets import FramePiece, PacketReader
from streaming.audio.report import Report, Span, add_span
from streaming.audio.timeline import Place, Timeline, without_outliers
from streaming.audio.tracks import Track, choose_track
from streaming.settings import RecordingConfig

Samples = NDArray[np.float32]
# What FFmpeg calls the channels (FL, FR ...), and float32 (n_channels, n) at 16 kHz in [-1, 1], n > 0.
_Channels = tuple[tuple[str, ...], Samples]

# Integers, because swresample clips them to full scale; packed, because PyAV hands out eight planes at most.
_SAMPLE_FORMAT = "s32"
_FULL_SCALE = np.float32(2**31)
_SILENCE_SAMPLES = 10 * SAMPLE_RATE
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
        self._reader = PacketReader(container, self._stream)
        self.labels = self._labels()
        self._report = Report(tuple(tracks), track)
        self._timeline = Timeline(_declared_end_s(container, self._stream) if has_end else None)
        self._undecoded: list[Span] = []
        self._without_audio: list[Span] = []
        self._opposite_s = 0.0

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
            broke_off=self._reader.broke_off,
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
            is_mp4 = "mov" in self._container.format.name
            hint = "; an mp4 whose index is at its end cannot be streamed, only read as a file" if is_mp4 else ""
            raise AudioFormatError(f"{self._name}: got audio without a single sample{hint}")
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
        for piece in without_outliers(self._reader.pieces()):
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

    def _note(self, piece: FramePiece, place: Place) -> None:
        if place.gap_s:
            spans = self._undecoded if piece.is_damaged else self._without_audio
            add_span(spans, place.start_s - place.gap_s, place.start_s)
        if piece.content is None and place.end_s > place.start_s:
            add_span(self._undecoded, place.start_s, place.end_s)


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
