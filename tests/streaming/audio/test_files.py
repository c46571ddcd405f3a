"""Files made on the fly in every container, read back and compared with what was written."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio.files import audio_blocks, chunked, read_audio

DURATION_S = 1.3
EVAL = Path(__file__).parents[4] / "shared" / "eval"

LOSSLESS = [
    ("wav", "pcm_u8", "u8", 1 / 100),
    ("wav", "pcm_s16le", "s16", 1e-4),
    ("wav", "pcm_s24le", "s32", 1e-6),
    ("wav", "pcm_s32le", "s32", 1e-6),
    ("wav", "pcm_f32le", "flt", 1e-6),
    ("wav", "pcm_f64le", "dbl", 1e-6),
    ("aiff", "pcm_s16be", "s16", 1e-4),
    ("flac", "flac", "s16", 1e-4),
    ("flac", "flac", "s32", 1e-6),
]
LOSSY = [("mp3", "libmp3lame"), ("ogg", "libopus"), ("m4a", "aac"), ("mp4", "aac"), ("webm", "libopus")]


def speechlike(rate: int) -> NDArray[np.float64]:
    """A chord that swells and fades, all of it below 4 kHz: (n,) in [-0.7, 0.7]."""
    t = np.arange(round(DURATION_S * rate)) / rate
    return np.asarray(sum(np.sin(2 * np.pi * f * t) for f in (220, 517, 1310)) * np.sin(np.pi * t / DURATION_S) * 0.23)


def write(
    path: Path, codec: str, sample_format: str, rate: int, channels: list[NDArray[np.float64]], video: bool = False
) -> Path:
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    with av.open(str(path), "w") as container:
        if video:
            container.add_stream("mpeg4", rate=25, width=16, height=16)
        stream = container.add_stream(codec, rate=rate, layout=layout, format=sample_format)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.stack(channels), format="dblp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(sample_format, layout, rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def sample_format_of(codec: str) -> str:
    formats = av.Codec(codec, "w").audio_formats
    assert formats
    return formats[0].name


def wav(path: Path, rate: int = SAMPLE_RATE) -> Path:
    return write(path, "pcm_s16le", "s16", rate, [speechlike(rate)])


@pytest.mark.parametrize(("extension", "codec", "sample_format", "tolerance"), LOSSLESS)
@pytest.mark.parametrize("n_channels", [1, 2])
def test_lossless_at_16_khz_is_what_was_written(
    tmp_path: Path, extension: str, codec: str, sample_format: str, tolerance: float, n_channels: int
) -> None:
    original = speechlike(SAMPLE_RATE)
    path = write(tmp_path / f"a.{extension}", codec, sample_format, SAMPLE_RATE, [original] * n_channels)
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert samples.shape == original.shape
    assert np.abs(samples - original).max() < tolerance


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_any_rate_keeps_length_and_content_to_the_end(tmp_path: Path, rate: int) -> None:
    samples = read_audio(wav(tmp_path / "a.wav", rate))
    expected = speechlike(SAMPLE_RATE)
    assert abs(len(samples) - len(expected)) <= 1
    n = min(len(samples), len(expected))
    assert np.abs(samples[:n] - expected[:n]).max() < 0.01


@pytest.mark.parametrize(("extension", "codec"), LOSSY)
@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_lossy_codecs_keep_length_and_content(tmp_path: Path, extension: str, codec: str, n_channels: int) -> None:
    if codec == "libmp3lame" and n_channels > 2:
        pytest.skip("mp3 has two channels at most")
    path = tmp_path / f"a.{extension}"
    write(path, codec, sample_format_of(codec), 48000, [speechlike(48000)] * n_channels)
    samples, expected = read_audio(path), speechlike(SAMPLE_RATE)
    assert abs(len(samples) - len(expected)) < 0.1 * SAMPLE_RATE
    assert similarity(samples, expected) > 0.98


def similarity(a: NDArray[np.float32], b: NDArray[np.float64]) -> float:
    """The largest normalised cross-correlation, whatever the codec's delay."""
    n = len(a) + len(b)
    correlation = np.fft.irfft(np.fft.rfft(a, n) * np.fft.rfft(b, n).conj(), n)
    return float(correlation.max() / np.linalg.norm(a) / np.linalg.norm(b))


def test_video_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "aac", "fltp", 48000, [speechlike(48000)], video=True)
    assert similarity(read_audio(path), speechlike(SAMPLE_RATE)) > 0.98


@pytest.mark.parametrize("n_channels", [2, 6])
def test_mixdown_of_equal_channels_is_no_louder(tmp_path: Path, n_channels: int) -> None:
    channels = [speechlike(SAMPLE_RATE)] * n_channels
    samples = read_audio(write(tmp_path / "a.wav", "pcm_f32le", "flt", SAMPLE_RATE, channels))
    assert np.abs(samples - channels[0]).max() < 1e-6


def test_overshoot_is_clipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", "pcm_f32le", "flt", SAMPLE_RATE, [speechlike(SAMPLE_RATE) * 9])
    assert np.abs(read_audio(path)).max() == 1


def test_joined_mp3_files_of_different_forms(tmp_path: Path) -> None:
    parts = [
        write(tmp_path / f"{rate}.mp3", "libmp3lame", "s16p", rate, [speechlike(rate)] * n_channels)
        for rate, n_channels in ((16000, 1), (44100, 2))
    ]
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert len(read_audio(joined)) / SAMPLE_RATE == pytest.approx(2 * DURATION_S, abs=0.2)


def test_blocks_are_the_whole_in_pieces(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", 44100)
    blocks = list(audio_blocks(path))
    assert len(blocks) > 1
    assert all(len(block) for block in blocks)
    assert np.array_equal(np.concatenate(blocks), read_audio(path))


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 30))
def test_chunked_changes_only_the_cuts(block_samples: list[int], chunk_samples: int) -> None:
    audio = np.arange(sum(block_samples), dtype=np.float32)
    blocks = np.split(audio, np.cumsum(block_samples[:-1])) if block_samples else []
    chunks = list(chunked(blocks, chunk_samples))
    assert np.array_equal(np.concatenate([*chunks, np.zeros(0, np.float32)]), audio)
    assert all(len(chunk) == chunk_samples for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= chunk_samples for chunk in chunks)


@pytest.mark.parametrize(
    ("extension", "codec"),
    [("wav", "pcm_s16le"), ("aiff", "pcm_s16be"), ("flac", "flac"), ("mp3", "libmp3lame"), ("webm", "libopus")],
)
def test_cut_off_at_the_end_yields_what_came_before(tmp_path: Path, extension: str, codec: str) -> None:
    original = np.tile(speechlike(48000), 8)
    path = write(tmp_path / f"a.{extension}", codec, sample_format_of(codec), 48000, [original])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    assert 0.4 < len(read_audio(path)) * 3 / len(original) < 0.7


def test_damage_is_silence_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    original = np.tile(speechlike(SAMPLE_RATE), 8)
    path = write(tmp_path / "a.m4a", "aac", "fltp", SAMPLE_RATE, [original])
    n_samples = len(read_audio(path))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    assert len(read_audio(path)) == n_samples
    assert "a.m4a: could not decode" in caplog.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.wav", b""),
        ("text.txt", b"Not a sound.\n" * 100),
        ("text.wav", b"Not a sound.\n" * 100),
        ("zeros.flac", bytes(5000)),
        ("header.mp3", b"ID3\x04\x00\x00\x00\x00\x00\x00"),
        ("subtitles.srt", b"1\n00:00:00,000 --> 00:00:01,000\nHello.\n"),
    ],
)
def test_no_audio_is_an_error_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioFormatError, match=name):
        read_audio(path)


def test_audio_without_samples_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(n_channels=1, n_samples=0))
    with pytest.raises(AudioFormatError, match="without a single sample"):
        read_audio(path)


def test_truncated_beyond_use_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.m4a", "aac", "fltp", SAMPLE_RATE, [speechlike(SAMPLE_RATE)])
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(AudioFormatError, match=r"a\.m4a"):
        read_audio(path)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(AudioFormatError, match="No such file"):
        read_audio(tmp_path / "missing.wav")
    with pytest.raises(AudioFormatError, match="directory"):
        read_audio(tmp_path)


def test_a_name_is_never_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "concat:a%20%d.wav"
    wav(tmp_path / "plain.wav").rename(tmp_path / name)
    assert len(read_audio(name)) == round(DURATION_S * SAMPLE_RATE)


def test_more_channels_than_any_layout_has(tmp_path: Path) -> None:
    path = tmp_path / "nine.wav"
    path.write_bytes(wav_bytes(n_channels=9, n_samples=100))
    assert len(read_audio(path)) == 100


def test_more_channels_than_can_be_resampled(tmp_path: Path) -> None:
    path = tmp_path / "many.wav"
    path.write_bytes(wav_bytes(n_channels=100, n_samples=100))
    with pytest.raises(AudioFormatError, match="100 channels"):
        read_audio(path)


def wav_bytes(n_channels: int, n_samples: int) -> bytes:
    frame_bytes = 2 * n_channels
    fmt = struct.pack("<HHIIHH", 1, n_channels, SAMPLE_RATE, SAMPLE_RATE * frame_bytes, frame_bytes, 16)
    data = bytes(n_samples * frame_bytes)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.skipif(not EVAL.exists(), reason="needs the shared recordings")
@pytest.mark.parametrize(
    ("name", "duration_s"),
    [
        ("silence_empty_mp3.mp3", 3.168),
        ("silence_digital_20s.wav", 20.0),
        ("en_jfk_m4a.m4a", 11.005),
        ("en_uberi_audio_mono_8_bit_44100Hz_wav.wav", 2.745),
        ("en_uberi_audio_mono_24_bit_44100Hz_wav.wav", 2.745),
        ("en_uberi_audio_mono_32_bit_44100Hz_wav.wav", 2.745),
        ("en_uberi_audio_stereo_16_bit_44100Hz_aiff.aiff", 2.745),
        ("music_Hungarian_Dance_number_5.ogg", 45.845),
        ("tel_gcp_commercial_mono.wav", 45.3),
    ],
)
def test_recordings_from_the_wild(name: str, duration_s: float) -> None:
    samples = read_audio(EVAL / "hard" / name)
    assert len(samples) / SAMPLE_RATE == pytest.approx(duration_s, abs=0.001)
    assert np.abs(samples).max() <= 1


@pytest.mark.skipif(not EVAL.exists(), reason="needs the shared recordings")
def test_bit_depths_agree() -> None:
    wide, narrow = (read_audio(EVAL / "hard" / f"en_uberi_audio_mono_{bits}_bit_44100Hz_wav.wav") for bits in (32, 24))
    assert np.abs(wide - narrow).max() < 1e-6
