"""Log-mel spectrogram as Whisper was trained on it."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from simul_whisper.audio import MAX_WINDOW_SAMPLES, SAMPLE_RATE, SAMPLES_PER_FRAME, SAMPLES_PER_HOP, Samples

N_FFT = 400
HOPS_PER_FRAME = SAMPLES_PER_FRAME // SAMPLES_PER_HOP
_LOG_FLOOR = -10.0
_DECADES = 8.0
# Slaney's scale of pitch: linear, and 27 steps for each factor of 6.4 from there on.
_LINEAR_HERTZ, _HERTZ_OF_MEL = 1000.0, 200.0 / 3
_MELS_OF_LINEAR, _MEL_STEP = _LINEAR_HERTZ / _HERTZ_OF_MEL, float(np.log(6.4)) / 27.0


@dataclass(frozen=True)
class Mel:
    """The input of an encoder.

    columns: float32 (n_mels, n_hops), n_hops even and at most 3000.
    content_frames: encoder positions that hold audio; what follows is padding.
    """

    columns: NDArray[np.float32]
    content_frames: int

    @property
    def n_frames(self) -> int:
        n_hops: int = self.columns.shape[1]
        return n_hops // HOPS_PER_FRAME


@cache
def mel_filters(n_mels: int) -> NDArray[np.float32]:
    """Return Slaney's mel filters, float32 (n_mels, 201): triangles of equal area, each over two bands.

    They are librosa's to the last bit, which takes 130 MB and half a second to import.
    """
    edges = _hertz(np.linspace(0.0, _mels(SAMPLE_RATE / 2), n_mels + 2))
    widths = np.diff(edges)
    above = np.subtract.outer(edges, np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE))
    rising, falling = -above[:-2] / widths[:-1, None], above[2:] / widths[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters: NDArray[np.float32] = (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)
    return filters


def _mels(hertz: float) -> float:
    """Slaney's scale of a pitch above 1000 Hz, up to which it is linear."""
    return _MELS_OF_LINEAR + float(np.log(hertz / _LINEAR_HERTZ)) / _MEL_STEP


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    rising = _LINEAR_HERTZ * np.exp(_MEL_STEP * (mels - _MELS_OF_LINEAR))
    return np.where(mels >= _MELS_OF_LINEAR, rising, mels * _HERTZ_OF_MEL)


_WINDOW = np.hanning(N_FFT + 1)[:-1].astype(np.float32)


def log_mel(samples: Samples, n_mels: int, padding_samples: int = MAX_WINDOW_SAMPLES) -> Mel:
    """Return the spectrogram of `samples`, followed by silence up to 30 s in all.

    samples: float32 (n,), at most 30 s. padding_samples: how much silence follows, rounded up to whole frames.
    Equals Whisper's own: reflected at the start, and at the end as if the silence were part of the samples.
    """
    assert 0 < len(samples) <= MAX_WINDOW_SAMPLES
    content_frames = -(-len(samples) // SAMPLES_PER_FRAME)
    window_samples = min(len(samples) + padding_samples, MAX_WINDOW_SAMPLES)
    n_hops = HOPS_PER_FRAME * -(-window_samples // SAMPLES_PER_FRAME)
    spectrum = np.full((n_mels, n_hops), _LOG_FLOOR, np.float32)
    audible = _log_columns(samples, n_mels, n_hops)
    spectrum[:, : audible.shape[1]] = audible
    # Whisper limits the dynamic range to eight decades below the loudest cell of the window.
    np.maximum(spectrum, spectrum.max() - _DECADES, out=spectrum)
    return Mel((spectrum + 4.0) / 4.0, content_frames)


def log_mels(samples: Samples, n_mels: int) -> list[Mel]:
    """Return the spectrogram of a recording in windows of 30 s, the last filled up with silence, as Voxtral reads it.

    samples: float32 (n,), n > 0. What is cut is the spectrogram, so that windows reflect nothing where they meet, and
    the loudest cell of all limits the dynamic range of each. Equals what Transformers makes for Voxtral.
    """
    n_windows, half = -(-len(samples) // MAX_WINDOW_SAMPLES), N_FFT // 2
    silent = n_windows * MAX_WINDOW_SAMPLES - len(samples)
    padded = np.pad(np.pad(samples, (0, silent)), half, mode="reflect")
    starts = range(0, n_windows * MAX_WINDOW_SAMPLES, MAX_WINDOW_SAMPLES)
    reach = MAX_WINDOW_SAMPLES - SAMPLES_PER_HOP + N_FFT
    spectra = [_log_powers(padded[start : start + reach], n_mels) for start in starts]
    least = max(float(each.max()) for each in spectra) - _DECADES
    for each in spectra:
        np.maximum(each, least, out=each)
    ends = (min(len(samples) - start, MAX_WINDOW_SAMPLES) for start in starts)
    return [Mel((each + 4.0) / 4.0, -(-end // SAMPLES_PER_FRAME)) for each, end in zip(spectra, ends, strict=True)]


def silence_in(mel: Mel) -> float:
    """Return the value that silence has in this window."""
    return max((_LOG_FLOOR + 4.0) / 4.0, float(mel.columns.max()) - _DECADES / 4.0)


def _log_columns(samples: Samples, n_mels: int, n_hops: int) -> NDArray[np.float32]:
    """Return the columns that any sample reaches into, float32 (n_mels, at most n_hops)."""
    half = N_FFT // 2
    n_columns = min(n_hops, (len(samples) + half) // SAMPLES_PER_HOP + 1)
    reach = (n_columns - 1) * SAMPLES_PER_HOP + half
    body = np.pad(samples, (0, max(0, min(reach, MAX_WINDOW_SAMPLES) - len(samples))))
    tail = _reflection(body[::-1], reach - MAX_WINDOW_SAMPLES)[::-1] if reach > MAX_WINDOW_SAMPLES else body[:0]
    padded = np.concatenate([_reflection(samples, half), body, tail])
    return _log_powers(padded[: (n_columns - 1) * SAMPLES_PER_HOP + N_FFT], n_mels)


def _log_powers(samples: Samples, n_mels: int) -> NDArray[np.float32]:
    """Return a column of each N_FFT samples, one every hop, float32 (n_mels, n)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::SAMPLES_PER_HOP]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)).astype(np.float32) ** 2
    columns: NDArray[np.float32] = np.log10(np.maximum(mel_filters(n_mels) @ power.T, 1e-10))
    return columns


def _reflection(samples: Samples, n: int) -> Samples:
    """Return the n samples that mirror the start of `samples`; silence where it is shorter."""
    mirrored = samples[1 : n + 1][::-1]
    return np.concatenate([np.zeros(n - len(mirrored), np.float32), mirrored])
