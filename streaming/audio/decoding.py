"""An open container -> samples in true time, through PyAV.

Time counts from the container's start, as players show it: gaps become silence, overlaps are cut, and silence stands in
for what cannot be decoded. It knows nothing of where containers come from.
"""

from collections.abc import Iterator
from dataclasses import replace

import av
import numpy as np
from av.audio.stream import AudioStream
from av.filter import Graph
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio.formats import CODECS
from streaming.audio.mixing import Mixer, labels_of
from streaming.audio.packets import FramePiece, PacketReader
from streaming.audio.report import Report, Span, add_span
from streaming.audio.timeline import Place, Timeline, without_outliers
from streaming.audio.tracks import Track, choose_track
from streaming.settings import RecordingConfig

Samples = NDArray[np.float32]
# What FFmpeg calls the channels (FL, FR ...), and float32 (n_channels, n) at 16 kHz in [-1, 1], n > 0.
_Channels = tuple[tuple[str, ...], Samples]

# Packed, because PyAV hands out eight planes at most. One channel comes as integers, as it always has.
_FULL_SCALE = {"s32": np.float32(2**31), "flt": np.float32(1)}
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
        streams, tracks = _tracks(container, self._config.any_format)
        if not container.streams.audio:
            raise AudioFormatError(f"{name}: there is no audio in it")
        track = choose_track(tracks, self._config.track, name)
        self._stream = streams[tracks.index(track)]
        self._reader = PacketReader(container, self._stream, name)
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
        for block in self._heard():
            if block.shape[1]:
                is_empty = False
                # Sums may go a little beyond full scale, as resampled sound does.
                yield np.clip(block, -1, 1)
        if is_empty:
            is_mp4 = "mov" in self._container.format.name
            hint = "; an mp4 whose index is at its end cannot be streamed, only read as a file" if is_mp4 else ""
            raise AudioFormatError(f"{self._name}: its audio is empty{hint}")
        self._note_missing_end()

    def _heard(self) -> Iterator[Samples]:
        """Yield float32 (n_labels, n), n may be 0."""
        mixer: Mixer | None = None
        for names, channels in self._channels():
            if mixer is None or names != mixer.names:
                if mixer is not None:
                    yield self._end_of(mixer)
                mixer = Mixer(names)
            yield self._chosen(channels, mixer)
        if mixer is not None:
            yield self._end_of(mixer)

    def _labels(self) -> tuple[str, ...]:
        labels = labels_of(self._stream.codec_context.layout.nb_channels)
        if self._config.channels == "mix":
            return ("",)
        if self._config.channels == "separate":
            return labels
        if int(self._config.channels) > len(labels):
            raise AudioFormatError(f"{self._name}: there is no channel {self._config.channels}; it has {len(labels)}")
        return ("",)

    def _chosen(self, channels: Samples, mixer: Mixer) -> Samples:
        if self._config.channels == "mix":
            return mixer.feed(channels)
        wanted = range(len(self.labels)) if self._config.channels == "separate" else [int(self._config.channels) - 1]
        # A part of a joined recording may have fewer.
        return channels[[min(channel, len(channels) - 1) for channel in wanted]]

    def _end_of(self, mixer: Mixer) -> Samples:
        rest = mixer.end()
        self._opposite_s += mixer.opposite_s
        return rest if self._config.channels == "mix" else np.zeros((len(self.labels), 0), np.float32)

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


def _tracks(container: av.container.InputContainer, any_codec: bool) -> tuple[list[AudioStream], list[Track]]:
    streams, tracks = [], []
    for number, stream in enumerate(container.streams.audio, 1):
        # None for a codec that FFmpeg does not know.
        if stream.codec_context is None or not (any_codec or stream.codec_context.name in CODECS):
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
        sample_format = "s32" if len(self._names) == 1 else "flt"
        self._full_scale = _FULL_SCALE[sample_format]
        try:
            self._graph = _resampling(frame, sample_format)
        except av.FFmpegError as error:
            raise self._refusal(error) from error
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
            pieces = _pulled(self._graph, frame)
        except av.FFmpegError as error:
            raise self._refusal(error) from error
        for piece in pieces:
            packed = piece.to_ndarray().reshape(-1, len(self._names)).astype(np.float32) / self._full_scale
            # Files of floats may hold anything.
            packed = np.nan_to_num(packed, copy=False, nan=0, posinf=1, neginf=-1)
            n_skipped = min(self._n_skipped, len(packed))
            self._n_skipped -= n_skipped
            if n_skipped < len(packed):
                yield self._counted(np.ascontiguousarray(packed[n_skipped:].T))

    def _refusal(self, error: av.FFmpegError) -> Exception:
        if isinstance(error, MemoryError):
            return error
        return AudioFormatError(
            f"{self._name}: got {len(self._names)} channels at {self.form[2]} Hz, "
            f"which cannot be resampled ({error.strerror}); convert to mono first"
        )

    def _counted(self, channels: Samples) -> _Channels:
        self.end_sample += channels.shape[1]
        return self._names, channels


def _resampling(frame: av.AudioFrame, sample_format: str) -> Graph:
    """Return what resamples frames of this form, as av.AudioResampler does, but in no threads of its own."""
    graph = Graph()
    # PyAV's early versions know of no such number.
    if hasattr(graph, "threads"):
        graph.threads = 1
    names = {"sample_fmt": frame.format.name, "channel_layout": frame.layout.name}
    time_base = {"time_base": f"{frame.time_base}"} if frame.time_base else {}
    graph.link_nodes(
        graph.add("abuffer", sample_rate=f"{frame.sample_rate}", **names, **time_base),
        graph.add(
            "aformat", sample_rates=f"{SAMPLE_RATE}", sample_fmts=sample_format, channel_layouts=frame.layout.name
        ),
        graph.add("abuffersink"),
    ).configure()
    return graph


def _pulled(graph: Graph, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
    """Push a frame, None at the end, and return what comes out."""
    graph.push(frame)
    pieces = list[av.AudioFrame]()
    while True:
        try:
            piece = graph.pull()
        except (av.EOFError, av.BlockingIOError):
            return pieces
        assert isinstance(piece, av.AudioFrame)
        pieces.append(piece)
