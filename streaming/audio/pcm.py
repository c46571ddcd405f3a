"""Raw PCM bytes as they come from sockets and devices -> mono samples at 16 kHz.

It knows bytes and nothing of where they come from; containers (webm, mp4, mp3 ...) are `containers.py`'s.
"""

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendError, as_s16, as_samples, from_s16
from streaming.audio.mixing import Mixer, unnamed
from streaming.settings import Encoding, PcmFormat

try:
    import soxr
except ImportError as error:
    raise BackendError("resampling needs soxr; install it with: pip install 'simul-whisper[live]'") from error


def _mulaw_table() -> NDArray[np.float32]:
    """Return what each byte stands for (ITU-T G.711): float32 (256,) in [-1, 1]."""
    inverted = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (inverted >> 4 & 7).astype(np.int32), (inverted & 15).astype(np.int32)
    magnitude = ((mantissa << 3) + 132 << exponent) - 132
    return (np.where(inverted & 128, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> NDArray[np.float32]:
    """Return what each byte stands for (ITU-T G.711): float32 (256,) in [-1, 1]."""
    toggled = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (toggled >> 4 & 7).astype(np.int32), (toggled & 15).astype(np.int32)
    magnitude = np.where(exponent > 0, (mantissa << 4) + 264 << np.maximum(exponent - 1, 0), (mantissa << 4) + 8)
    return (np.where(toggled & 128, magnitude, -magnitude) / 32768).astype(np.float32)


_LAWS = {Encoding.MULAW: _mulaw_table(), Encoding.ALAW: _alaw_table()}


class Resampler:
    """float32 (n,) mono at one rate in, at another out; how the samples are cut never matters."""

    def __init__(self, rate: int, to_rate: int) -> None:
        self.rate, self.to_rate = rate, to_rate
        self._stream = soxr.ResampleStream(rate, to_rate, 1) if rate != to_rate else None

    def feed(self, samples: NDArray[np.float32], *, is_last: bool = False) -> NDArray[np.float32]:
        """Return the samples that are complete; some 50 ms are held back until the last."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples, last=is_last), np.float32)


def resampled(pcm: bytes, rate: int, to_rate: int) -> bytes:
    """Return s16le mono of one rate at another one. It is the whole of a sound: nothing is held back."""
    if rate == to_rate:
        return pcm
    return as_s16(Resampler(rate, to_rate).feed(from_s16(pcm), is_last=True)).tobytes()


class PcmDecoder:
    """Bytes in, float32 (n,) mono 16 kHz in [-1, 1] out; how the bytes are cut never matters.

    Several channels are mixed as those of a recording are, so that opposite ones do not cancel.
    """

    def __init__(self, pcm_format: PcmFormat) -> None:
        self._format = pcm_format
        self._encoding = Encoding(pcm_format.encoding)
        self._carried = b""
        self._begin()

    def _begin(self) -> None:
        rate = self._format.rate
        self._mixer = Mixer(unnamed(self._format.channels), rate)
        self._resampler = Resampler(rate, SAMPLE_RATE)
        # Whether something may be held back.
        self._is_fed = False

    def feed(self, data: bytes | bytearray | memoryview) -> NDArray[np.float32]:
        """Return the samples that are complete; a resampler holds back some 50 ms, a mixer of channels at most 100 ms.

        Raises AudioFormatError for NaN, infinite and far too loud floats; the audio of that call is then lost.
        """
        joined = self._carried + bytes(data)
        n_whole = len(joined) - len(joined) % self._format.bytes_per_frame
        self._carried = joined[n_whole:]
        self._is_fed = self._is_fed or n_whole > 0
        return self._resampler.feed(self._mixer.feed(self._channels(joined[:n_whole]))[0])

    def flush(self) -> NDArray[np.float32]:
        """Return what was held back; more may follow, from the bytes of an unfinished frame on."""
        if not self._is_fed:
            return np.zeros(0, np.float32)
        rest = self._resampler.feed(self._mixer.end()[0], is_last=True)
        self._begin()
        return rest

    def end(self) -> NDArray[np.float32]:
        """Return what was held back; bytes of an unfinished frame are left out."""
        self._carried = b""
        return self._resampler.feed(self._mixer.end()[0], is_last=True)

    def _channels(self, data: bytes) -> NDArray[np.float32]:
        """Return float32 (n_channels, n)."""
        if self._encoding is Encoding.S16LE:
            flat = from_s16(data)
        elif self._encoding is Encoding.F32LE:
            flat = np.frombuffer(data, "<f4").astype(np.float32)
        else:
            flat = _LAWS[self._encoding][np.frombuffer(data, np.uint8)]
        return as_samples(flat).reshape(-1, self._format.channels).T
