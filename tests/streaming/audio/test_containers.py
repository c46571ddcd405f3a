"""Containers as streams of bytes, compared with the same bytes read as a file."""

import asyncio
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio import containers
from streaming.audio.containers import ContainerDecoder, decoded_recording
from streaming.audio.files import read_audio
from streaming.audio.timeline import MAX_SILENCE_S
from tests.conftest import RECORDINGS
from tests.streaming.audio.made_recordings import gap, heard_spans, tone, write_tracks
from tests.streaming.audio.test_files import sample_format_of, speechlike, write

STREAMABLE = [
    ("webm", "libopus"),
    ("ogg", "libopus"),
    ("mp3", "libmp3lame"),
    ("flac", "flac"),
    ("wav", "pcm_s16le"),
]


def made(tmp_path: Path, extension: str, codec: str, n_channels: int = 2) -> Path:
    channels = [speechlike(48000)] * n_channels
    return write(tmp_path / f"a.{extension}", codec, sample_format_of(codec), 48000, channels)


def heard(pieces: list[bytes], **options: Any) -> tuple[NDArray[np.float32], list[str]]:
    """The samples and the notices."""

    async def decode() -> tuple[NDArray[np.float32], list[str]]:
        with closing(ContainerDecoder(**options)) as decoder:
            blocks = [block for piece in pieces async for block in decoder.feed(piece)]
            blocks += [block async for block in decoder.end()]
            return np.concatenate(blocks), decoder.notices

    return asyncio.run(decode())


def cut(data: bytes, piece_bytes: int) -> list[bytes]:
    return [data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes)]


def streamed(data: bytes, piece_bytes: int) -> NDArray[np.float32]:
    return heard(cut(data, piece_bytes))[0]


@pytest.mark.parametrize(("extension", "codec"), STREAMABLE)
@pytest.mark.parametrize("piece_bytes", [100, 4097, 10**6])
def test_bytes_in_pieces_are_the_file(tmp_path: Path, extension: str, codec: str, piece_bytes: int) -> None:
    path = made(tmp_path, extension, codec)
    samples, expected = streamed(path.read_bytes(), piece_bytes), read_audio(path)
    if extension == "mp3":
        # Only a file tells, by its size, how much silence the encoder has added at the end.
        assert 0 <= len(samples) - len(expected) < 1000
        samples, expected = samples[: len(expected) - 100], expected[: len(expected) - 100]
    assert np.array_equal(samples, expected)


def test_samples_come_while_bytes_still_do(tmp_path: Path) -> None:
    data = made(tmp_path, "webm", "libopus").read_bytes()

    async def early() -> int:
        with closing(ContainerDecoder()) as decoder:
            return sum([len(block) async for block in decoder.feed(data[: len(data) * 3 // 4])])

    assert asyncio.run(early()) > 0.4 * len(streamed(data, len(data)))


def test_mp4_streams_when_it_is_fragmented(tmp_path: Path) -> None:
    path = tmp_path / "fragmented.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(speechlike(48000).astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = 48000
        assert isinstance(stream, av.AudioStream)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.array_equal(streamed(path.read_bytes(), 1000), read_audio(path))


def test_mp4_with_its_index_at_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioFormatError, match="audio stream: "):
        streamed(made(tmp_path, "mp4", "aac").read_bytes(), 1000)


# Recordings as a whole


def recorded(data: bytes) -> NDArray[np.float32]:
    async def decode() -> NDArray[np.float32]:
        return np.concatenate([block async for block in decoded_recording(bytearray(data))])

    return asyncio.run(decode())


@pytest.mark.parametrize(("extension", "codec"), [*STREAMABLE, ("m4a", "aac"), ("mp4", "aac"), ("aiff", "pcm_s16be")])
def test_a_recording_is_the_file_wherever_its_index_stands(tmp_path: Path, extension: str, codec: str) -> None:
    path = made(tmp_path, extension, codec)
    assert np.array_equal(recorded(path.read_bytes()), read_audio(path))


@pytest.mark.parametrize("data", [b"", b"\x00" * 5000, bytes(range(256)) * 400, b"RIFF....WAVE"])
def test_a_recording_that_is_no_audio_is_refused(data: bytes) -> None:
    with pytest.raises(AudioFormatError, match="recording: "):
        recorded(data)


def test_a_recording_that_is_cut_off_keeps_what_is_left() -> None:
    data = (RECORDINGS / "captions.flac").read_bytes()
    n = len(read_audio(RECORDINGS / "captions.flac"))
    assert 0.3 * n < len(recorded(data[: len(data) // 2])) < 0.7 * n


def test_a_recording_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    data = (RECORDINGS / "captions.flac").read_bytes()
    monkeypatch.setattr(containers, "_MOST_READINGS", 0)
    monkeypatch.setattr(containers, "_SPARE_PIECES", 3)
    with pytest.raises(AudioFormatError, match="circles"):
        recorded(data)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=40)), min_size=1, max_size=4))
def test_damage_of_an_index_is_decoded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[float, bytes]]
) -> None:
    data = bytearray(made(tmp_path_factory.getbasetemp(), "m4a", "aac").read_bytes())
    for where, other in damage:
        at = round(where * (len(data) - len(other)))
        data[at : at + len(other)] = other
    with suppress(AudioFormatError):
        assert len(recorded(bytes(data)))


@pytest.mark.parametrize("data", [b"", b"\x00" * 5000, bytes(range(256)) * 400, b"RIFF....WAVE"])
def test_what_is_no_audio_is_refused(data: bytes) -> None:
    with pytest.raises(AudioFormatError, match="audio stream: "):
        streamed(data, 500)


def test_a_stream_that_breaks_off_keeps_what_came() -> None:
    data = (RECORDINGS / "captions.flac").read_bytes()
    n = len(read_audio(RECORDINGS / "captions.flac"))
    assert 0.3 * n < len(streamed(data[: len(data) // 2], 4000)) < 0.7 * n


@pytest.fixture(scope="module")
def odd_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with a gap, damage, and channels in opposite phase."""
    path, channel = tmp_path_factory.mktemp("odd") / "a.webm", tone(20, 300)
    data = bytearray(write_tracks(path, [[channel, -channel]], change=gap(2, 5)).read_bytes())
    data[len(data) * 5 // 10 : len(data) * 6 // 10] = bytes(len(data) * 6 // 10 - len(data) * 5 // 10)
    path.write_bytes(data)
    return path


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_how_bytes_are_cut_never_matters(odd_file: Path, cuts: list[int]) -> None:
    odd = odd_file.read_bytes()
    edges = [0, *sorted(each % len(odd) for each in cuts), len(odd)]
    samples, notices = heard([odd[start:stop] for start, stop in pairwise(edges)])
    whole, expected_notices = heard([odd])
    assert np.array_equal(samples, whole)
    assert notices == expected_notices
    assert len(notices) == 3


@pytest.mark.parametrize(("extension", "codec"), [("webm", "libopus"), ("ts", "aac"), ("mkv", "aac")])
def test_the_time_of_a_stream_is_that_of_the_file(tmp_path: Path, extension: str, codec: str) -> None:
    path = tmp_path / f"a.{extension}"
    write_tracks(path, [[tone(6)]], codec, change=gap(2, 4))
    samples = streamed(path.read_bytes(), 1000)
    assert np.array_equal(samples, read_audio(path))
    assert len(heard_spans(samples)) == 2


def test_a_stream_cannot_make_hours_of_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_tracks(path, [[tone(3)]], "aac", change=lambda at_s: 500 * round(at_s, 1) + at_s)
    samples, notices = heard([path.read_bytes()])
    assert len(samples) / SAMPLE_RATE < MAX_SILENCE_S + 30
    assert any("the timestamps jump" in notice for notice in notices)


def test_no_bytes_are_waited_for_by_nobody() -> None:
    async def nothing() -> int:
        with closing(ContainerDecoder()) as decoder:
            return len([block async for block in decoder.feed(b"")])

    assert asyncio.run(nothing()) == 0
