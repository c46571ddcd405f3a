"""PCM: what bytes mean, that their cut never matters, and what is refused."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio.pcm import PcmDecoder
from streaming.settings import PcmFormat
from tests.properties import examples

ENCODINGS = ["s16le", "f32le", "mulaw", "alaw"]
RATES = [8000, 11025, 16000, 22050, 44100, 48000, 192000]


def chord(rate: int, duration_s: float = 0.5) -> NDArray[np.float32]:
    """Float32 (n,) in [-0.6, 0.6], below 1.5 kHz, faded in and out."""
    t = np.arange(round(duration_s * rate)) / rate
    swell = np.sin(np.pi * t / duration_s)
    return np.asarray(swell * sum(np.sin(2 * np.pi * f * t) for f in (220, 517, 1310)) * 0.2, np.float32)


def encoded(channels: list[NDArray[np.float32]], encoding: str) -> bytes:
    frames = np.stack(channels, axis=1)
    if encoding == "f32le":
        return frames.astype("<f4").tobytes()
    integers = np.round(frames * 32767).astype("<i2")
    if encoding == "s16le":
        return integers.tobytes()
    frame = av.AudioFrame.from_ndarray(integers.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate, frame.time_base = 8000, Fraction(1, 8000)
    codec: Any = av.CodecContext.create(f"pcm_{encoding}", "w")
    codec.sample_rate, codec.layout, codec.format = 8000, "mono", "s16"
    return b"".join(bytes(packet) for packet in codec.encode(frame))


def decoded(data: bytes, pcm_format: PcmFormat, cuts: list[int] | None = None) -> NDArray[np.float32]:
    decoder = PcmDecoder(pcm_format)
    edges = [0, *sorted(cuts or []), len(data)]
    pieces = [decoder.feed(data[start:stop]) for start, stop in pairwise(edges)]
    return np.concatenate([*pieces, decoder.end()])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n_channels", [1, 2, 8])
def test_any_pcm_becomes_the_same_sound(encoding: str, rate: int, n_channels: int) -> None:
    samples = decoded(encoded([chord(rate)] * n_channels, encoding), PcmFormat(encoding, rate, n_channels))
    expected = chord(SAMPLE_RATE)
    assert samples.dtype == np.float32
    assert abs(len(samples) - len(expected)) <= 1
    n = min(len(samples), len(expected))
    assert np.abs(samples[:n] - expected[:n]).max() < (0.03 if encoding.endswith("law") else 0.003)


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_bytes_of_g711_mean_what_ffmpeg_says(encoding: str) -> None:
    codec: Any = av.CodecContext.create(f"pcm_{encoding}", "r")
    codec.sample_rate, codec.layout = 8000, "mono"
    frames = codec.decode(av.Packet(bytes(range(256))))
    expected = np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32) / 32768
    assert np.array_equal(decoded(bytes(range(256)), PcmFormat(encoding)), expected)


def test_full_scale_is_one_and_channels_are_averaged() -> None:
    assert decoded(b"\x00\x80", PcmFormat()).tolist() == [-1.0]
    assert decoded(b"\x00\x80\x00\x00\x00\x40\x00\x40", PcmFormat(channels=2)).tolist() == [-0.5, 0.5]


def test_opposite_channels_do_not_cancel_and_one_side_keeps_its_level() -> None:
    channel = chord(16_000)
    for other in (-channel, 0 * channel):
        samples = decoded(encoded([channel, other], "f32le"), PcmFormat("f32le", channels=2))
        np.testing.assert_allclose(samples, channel, atol=1e-6)


@examples(60)
@given(data=st.data())
def test_the_cut_of_the_bytes_never_changes_the_sum(data: st.DataObject) -> None:
    encoding, rate = data.draw(st.sampled_from(["s16le", "mulaw"])), data.draw(st.sampled_from([*RATES, 8001, 99999]))
    pcm_format = PcmFormat(encoding, rate, data.draw(st.integers(1, 8)))
    n = data.draw(st.integers(0, 20_000))
    noise = np.random.default_rng(n).integers(0, 256, n, np.uint8).tobytes()
    cuts = data.draw(st.lists(st.integers(0, n), max_size=30))
    assert np.array_equal(decoded(noise, pcm_format, cuts), decoded(noise, pcm_format))


def test_single_bytes_are_carried() -> None:
    data = encoded([chord(8000, 0.02)] * 3, "f32le")
    pcm_format = PcmFormat("f32le", 8000, 3)
    assert np.array_equal(decoded(data, pcm_format, list(range(len(data)))), decoded(data, pcm_format))


def test_an_unfinished_frame_at_the_end_is_left_out() -> None:
    assert decoded(b"\x00\x40\x00", PcmFormat()).tolist() == [0.5]
    assert decoded(b"", PcmFormat(rate=44100)).shape == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "got a rate of 0 Hz, expected 8000-192000"),
        ({"rate": 7999}, "7999"),
        ({"rate": 192001}, "192001"),
        ({"rate": 16000.0}, "16000.0"),
        ({"rate": "16000"}, "'16000'"),
        ({"rate": True}, "True"),
        ({"channels": 0}, "got 0 channels, expected 1-8"),
        ({"channels": 50}, "50"),
        ({"channels": None}, "None"),
        ({"encoding": "s24le"}, "got encoding 's24le', expected one of s16le, f32le, mulaw, alaw"),
        ({"encoding": 3}, "3"),
    ],
)
def test_other_formats_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AudioFormatError, match=message):
        PcmFormat(**options)


@pytest.mark.parametrize("bad", [[np.nan, 0], [0, np.inf], [np.inf, -np.inf], [3e38, 3e38], [1000, 1000]])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_floats_that_are_no_audio_are_refused(bad: list[float], rate: int) -> None:
    decoder = PcmDecoder(PcmFormat("f32le", rate, 2))
    with pytest.raises(AudioFormatError, match=r"NaN|up to"):
        decoder.feed(np.array(bad, "<f4").tobytes())
    # It recovers: a source may send better audio after it.
    assert np.isfinite(np.concatenate([decoder.feed(bytes(8000)), decoder.end()])).all()


@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_flush_holds_nothing_back_and_what_follows_goes_on_from_there(n_channels: int) -> None:
    data, decoder = encoded([chord(24_000)] * n_channels, "s16le"), PcmDecoder(PcmFormat("s16le", 24_000, n_channels))
    heard = [len(np.concatenate([decoder.feed(piece), decoder.flush()])) for piece in (data, data[:101], data[101:])]
    assert heard[0] == pytest.approx(8_000, abs=1)
    assert sum(heard[1:]) == pytest.approx(8_000, abs=2)
    assert len(decoder.flush()) == 0
