"""A track of an open container -> its frames, as pieces with timestamps, and how much between them is lost.

It knows what FFmpeg makes of damaged containers, and nothing of where the pieces go.
"""

from collections.abc import Iterator
from typing import Union

import av
from av.audio.stream import AudioStream

from streaming.audio.formats import check_form
from streaming.audio.timeline import Piece

FramePiece = Piece[av.AudioFrame]
_Timed = Union["av.Packet[AudioStream]", av.AudioFrame]

# These have no timestamps: FFmpeg counts the packets, and what it cannot read is one, however long.
_COUNTING_FORMATS = {"mp3", "aac", "ac3", "eac3", "dts", "loas", "truehd", "mlp", "amr"}
_MUCH_LARGER = 2
# Bytes between two packets that are in neither: more than a container's own.
_MIN_HOLE_BYTES, _MIN_HOLE_PACKETS = 1_000, 4
# Ogg puts this many packets, of a second, before it notices a hole.
_PACKETS_AFTER_HOLE = 100
# FFmpeg gives up at large holes, and goes on behind them when it is asked again.
_MOST_TRIES = 10


class PacketReader:
    """Reads one track. broke_off: why it could not be read to its end; empty when it could.

    name: what errors begin with.
    """

    def __init__(self, container: av.container.InputContainer, stream: AudioStream, name: str) -> None:
        self._container, self._stream, self._name = container, stream, name
        # Some codecs would start as many threads as there are cores.
        stream.codec_context.thread_count = 1
        if stream.codec_context.name == "flac":
            # Its checksum tells sound from noise; other codecs' checks refuse what plays well.
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        self._damage = _Damage(container, stream)
        start_us = container.start_time
        self._origin_s = None if start_us is None else start_us / 1e6
        self.broke_off = ""

    def pieces(self) -> Iterator[FramePiece]:
        """Yield the frames, and a piece without content for each packet that cannot be decoded.

        Their times count from the container's start. Raises AudioFormatError for a form that no recording has.
        """
        damage = self._damage
        for packet in self._packets():
            origin_s = self._origin_s
            was_damaged, uncounted_s = damage.is_near, damage.uncounted_s
            frames = None if damage.is_odd(packet) else _decoded(packet)
            if frames is None:
                yield Piece(None, _since(packet, origin_s, uncounted_s), damage.lose(packet), was_damaged)
                continue
            damage.keep(packet)
            for frame in frames:
                check_form(frame.sample_rate, frame.layout.nb_channels, self._name)
                start_s = _since(frame, origin_s, uncounted_s)
                yield Piece(frame, start_s, frame.samples / frame.sample_rate, was_damaged or damage.is_near)

    def _packets(self) -> "Iterator[av.Packet[AudioStream]]":
        n_tries = 0
        while n_tries < _MOST_TRIES:
            try:
                for packet in self._demuxed():
                    n_tries = 0
                    yield packet
            except MemoryError:
                raise
            except av.InvalidDataError as error:
                n_tries += 1
                self.broke_off = str(error.strerror)
            except av.ExitError:
                self.broke_off = "no more data came"
                return
            except av.FFmpegError as error:
                self.broke_off = str(error.strerror)
                return
            else:
                self.broke_off = ""
                return

    def _demuxed(self) -> "Iterator[av.Packet[AudioStream]]":
        """Yield the track's packets. The start, where it is not known, is the first packet that is heard or seen."""
        if self._origin_s is None:
            shown = [each for each in self._container.streams if _is_shown(each)]
            for packet in self._container.demux(shown):
                self._origin_s = _seconds(packet)
                if packet.stream.index == self._stream.index:
                    yield packet
                if self._origin_s is not None:
                    break
        yield from self._container.demux(self._stream)


def _is_shown(stream: av.stream.Stream) -> bool:
    """Not so are subtitles, data, and the picture of a cover."""
    return stream.type in ("audio", "video") and not stream.disposition & av.stream.Disposition.attached_pic


def _decoded(packet: "av.Packet[AudioStream]") -> list[av.AudioFrame] | None:
    try:
        return packet.decode()
    except MemoryError:
        # One of FFmpeg's too, and no damage.
        raise
    except av.FFmpegError:
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
        self._has_timestamps = False
        self._pos: int | None = None
        self._n_near = 0
        self.uncounted_s = 0.0

    @property
    def is_near(self) -> bool:
        """Whether something was lost just before."""
        return self._n_near > 0

    def is_odd(self, packet: "av.Packet[AudioStream]") -> bool:
        """Whether it has no timestamp though those before have one: it holds what is between two packets, as noise."""
        return packet.pts is None and packet.size > 0 and self._has_timestamps

    def keep(self, packet: "av.Packet[AudioStream]") -> None:
        """Note a packet that was decoded."""
        self._has_timestamps = self._has_timestamps or packet.pts is not None
        self._n_near = max(0, self._n_near - 1)
        self._look_for_hole(packet)
        self._n_packets, self._n_bytes = self._n_packets + 1, self._n_bytes + packet.size
        self._kept_s += _duration_s(packet)
        self._largest_bytes = max(self._largest_bytes, packet.size)

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
