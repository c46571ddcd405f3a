"""Sound as files of the usual formats, piece by piece while it is made: nothing is written again."""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper import as_s16
from streaming.audio.pcm import Resampler
from streaming.audio.wave_file import wave_header

RATE = 24_000
"""Of all that is encoded."""

# Containers and codecs of FFmpeg, by the name of the format.
_CODECS = {
    "mp3": ("mp3", "libmp3lame", {"write_xing": "0"}),
    "opus": ("ogg", "libopus", {}),
    "aac": ("adts", "aac", {}),
    "flac": ("flac", "flac", {}),
}
FORMATS = (*_CODECS, "wav", "pcm")


class SoundEncoder:
    """float32 (n,) mono in [-1, 1] in, bytes of a file out. form: one of FORMATS; pcm is s16le without a header.

    rate: of what comes.
    """

    def __init__(self, form: str, rate: int) -> None:
        self._resampler = Resampler(rate, RATE)
        self._encoder = _Encoder(*_CODECS[form]) if form in _CODECS else None
        self._head = wave_header(RATE, None) if form == "wav" else b""

    def feed(self, samples: NDArray[np.float32]) -> bytes:
        return self._written(self._resampler.feed(samples))

    def end(self) -> bytes:
        """Return the rest."""
        rest = self._written(self._resampler.feed(np.zeros(0, np.float32), is_last=True))
        return rest + (self._encoder.end() if self._encoder else b"")

    def _written(self, samples: NDArray[np.float32]) -> bytes:
        pcm = as_s16(samples)
        if self._encoder:
            return self._encoder.feed(pcm)
        head, self._head = self._head, b""
        return head + pcm.tobytes()


class _Sink:
    """What FFmpeg writes to; without `seek`, so that it never goes back."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


class _Encoder:
    def __init__(self, container: str, codec: str, options: dict[str, str]) -> None:
        # Here, because a server is to load FFmpeg only where somebody wants a file of its formats.
        import av

        self._sink, self._frame = _Sink(), av.AudioFrame
        self._container = av.open(self._sink, "w", format=container, options={**options, "flush_packets": "1"})
        self._stream: Any = self._container.add_stream(codec, rate=RATE, layout="mono")
        self._n_samples = 0

    def feed(self, pcm: NDArray[np.int16]) -> bytes:
        if len(pcm):
            frame = self._frame.from_ndarray(pcm[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, self._n_samples, Fraction(1, RATE)
            self._n_samples += len(pcm)
            self._container.mux(self._stream.encode(frame))
        return self._sink.take()

    def end(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()
