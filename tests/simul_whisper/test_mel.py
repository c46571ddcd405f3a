"""The spectrogram against the formula in the textbook, and how far the padding may change it."""

import librosa.filters
import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper.audio import MAX_WINDOW_SAMPLES, Samples
from simul_whisper.mel import log_mel, log_mels, mel_filters


def noise(n: int) -> Samples:
    """Loud and quiet stretches, the first and the last samples among the loud."""
    loudness = 0.02 + 0.3 * np.square(np.cos(np.linspace(0, 3 * np.pi, n)))
    return np.asarray(np.random.default_rng(n).uniform(-1, 1, n) * loudness, np.float32)


def textbook_mel(samples: Samples, n_mels: int) -> NDArray[np.float64]:
    """Whisper's input, literally, in float64: silence up to whole windows, reflected at both ends of all of it."""
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % MAX_WINDOW_SAMPLES))
    padded = np.pad(padded, 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:-1]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    filters = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels)
    logs = np.log10(np.maximum(filters @ power.T, 1e-10))
    result: NDArray[np.float64] = (np.maximum(logs, logs.max() - 8) + 4) / 4
    return result


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_filters_are_those_that_whisper_was_trained_on(n_mels: int) -> None:
    filters = mel_filters(n_mels)
    assert filters.dtype == np.float32
    np.testing.assert_array_equal(filters, librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels))


@pytest.mark.parametrize("n", [1, 159, 160, 161, 200, 201, 16_000, 479_799, 479_900, 480_000])
def test_the_spectrogram_is_that_of_the_textbook(n: int) -> None:
    mel = log_mel(noise(n), 80)
    assert mel.columns.shape == (80, 3000)
    assert mel.columns.dtype == np.float32
    np.testing.assert_allclose(mel.columns, textbook_mel(noise(n), 80), atol=1e-3)


def test_large_v3_hears_128_bands() -> None:
    np.testing.assert_allclose(log_mel(noise(5_000), 128).columns, textbook_mel(noise(5_000), 128), atol=1e-3)


@pytest.mark.parametrize("n", [1, 480_000, 480_001, 1_000_000])
def test_a_recording_of_any_length_is_one_spectrogram_in_windows(n: int) -> None:
    mels = log_mels(noise(n), 128)
    assert [each.columns.shape for each in mels] == [(128, 3000)] * -(-n // 480_000)
    assert [each.content_frames for each in mels] == [1500] * (len(mels) - 1) + [
        -(-(n - 480_000 * (len(mels) - 1)) // 320)
    ]
    whole = np.concatenate([each.columns for each in mels], axis=1)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, textbook_mel(noise(n), 128), atol=1e-3)


def test_silence_has_one_value() -> None:
    silence = log_mel(np.zeros(16_000, np.float32), 80).columns
    np.testing.assert_allclose(silence, np.full((80, 3000), -1.5), atol=1e-6)


@pytest.mark.parametrize("n", [1, 319, 320, 321, 16_000, 16_161])
@pytest.mark.parametrize("padding", [0, 1, 1_600, 16_000])
def test_less_padding_is_the_same_spectrogram_cut_off(n: int, padding: int) -> None:
    whole, cut = log_mel(noise(n), 80), log_mel(noise(n), 80, padding)
    assert cut.columns.shape[1] == 2 * -(-(n + padding) // 320)
    assert cut.content_frames == whole.content_frames == -(-n // 320)
    assert cut.content_frames <= cut.n_frames
    np.testing.assert_allclose(cut.columns, whole.columns[:, : cut.columns.shape[1]], atol=1e-6)


def test_padding_ends_at_thirty_seconds() -> None:
    mel = log_mel(noise(479_900), 80, 16_000)
    assert (mel.n_frames, mel.content_frames) == (1500, 1500)


@pytest.mark.parametrize("n", [0, 480_001])
def test_a_window_holds_audio_of_at_most_thirty_seconds(n: int) -> None:
    with pytest.raises(AssertionError):
        log_mel(np.zeros(n, np.float32), 80)
