"""What is opened and what is refused: by the kind of a file and by the values of its header, for files and streams."""

from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, AudioFormatError
from streaming.audio.files import read_audio
from streaming.audio.formats import CODECS
from streaming.settings import RecordingConfig
from tests.streaming.audio import hostile
from tests.streaming.audio.made_recordings import tone, write_tracks
from tests.streaming.audio.test_containers import heard, streamed
from tests.streaming.audio.test_files import speechlike, write

ANY = RecordingConfig(any_format=True)
POINTERS = {"list.m3u8": hostile.playlist_of, "list.ffconcat": hostile.concat_of, "a.mov": hostile.mp4_that_refers_to}


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A file that nobody has sent."""
    return write(tmp_path / "private.wav", "pcm_s16le", "s16", SAMPLE_RATE, [speechlike(SAMPLE_RATE)])


@pytest.mark.parametrize("name", POINTERS)
def test_what_names_another_file_is_not_followed(tmp_path: Path, private: Path, name: str) -> None:
    data = POINTERS[name](private)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AudioFormatError, match=r"expected|empty"):
        read_audio(tmp_path / name)
    with pytest.raises(AudioFormatError, match=r"expected|empty"):
        streamed(data, 1000)


def test_an_mp4_really_refers_to_another_file(tmp_path: Path, private: Path) -> None:
    (tmp_path / "a.mov").write_bytes(hostile.mp4_that_refers_to(private))
    with av.open(str(tmp_path / "a.mov"), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert sum(frame.samples for frame in container.decode(audio=0))


def test_the_users_own_lists_are_followed_if_asked_for(tmp_path: Path, private: Path) -> None:
    (tmp_path / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile '{private.name}'\n")
    assert np.array_equal(read_audio(tmp_path / "list.ffconcat", ANY), read_audio(private))
    with pytest.raises(AudioFormatError, match="--any-format opens whatever FFmpeg knows"):
        read_audio(tmp_path / "list.ffconcat")


@pytest.mark.parametrize(
    "data", [hostile.SDP, b"RTSP/1.0 200 OK\r\n\r\n", b"[Script Info]\n", b"\x89PNG\r\n\x1a\n" * 9]
)
def test_what_is_no_recording_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(data)
    with pytest.raises(AudioFormatError, match="expected"):
        read_audio(tmp_path / "a.bin")
    with pytest.raises(AudioFormatError, match="expected"):
        streamed(data, 10)


def test_a_codec_that_is_not_listed(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", [[tone(1)]], "wavpack")
    assert "wavpack" not in CODECS
    with pytest.raises(AudioFormatError, match="none of its audio tracks can be decoded"):
        read_audio(path)
    assert len(read_audio(path, ANY)) == SAMPLE_RATE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (hostile.wav(rate=1), "got a rate of 1 Hz"),
        (hostile.wav(rate=655_350), "got a rate of 655350 Hz"),
        (hostile.wav(n_channels=64), "got 64 channels"),
        (hostile.wav(rate=0), "audio stream: "),
        (hostile.wav(n_channels=0), "audio stream: "),
        (hostile.rf64(2**63), "audio stream: "),
        (hostile.rf64(2**64 - 1), "audio stream: "),
        (hostile.webm_that_wants_memory(), "audio stream: "),
        (hostile.flac_of_silence(3_000), "stand for more than"),
    ],
)
def test_impossible_values_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(AudioFormatError, match=message) as error:
        heard([data])
    assert "\n" not in str(error.value)


def test_values_of_files_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(hostile.wav(rate=1))
    with pytest.raises(AudioFormatError, match="expected 4000-384000; is its header damaged"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("says_bytes", [2**32 - 1, 2**31, 2**31 - 1])
def test_lengths_are_those_of_the_bytes(says_bytes: int) -> None:
    assert len(streamed(hostile.wav(says_bytes=says_bytes), 500)) == SAMPLE_RATE


def test_honest_silence_passes() -> None:
    assert len(streamed(hostile.flac_of_silence(500, block_samples=4_096), 1_000)) > 2 * 490 * 4_096


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Two seconds in several containers."""
    folder, kinds = (
        tmp_path_factory.mktemp("honest"),
        [("mkv", "libopus"), ("ts", "aac"), ("ogg", "flac"), ("mp4", "aac")],
    )
    return [write_tracks(folder / f"a.{end}", [[tone(2)]], codec).read_bytes() for end, codec in kinds]


@given(
    kind=st.integers(0, 3),
    changes=st.lists(st.tuples(st.integers(0, 2_000) | st.integers(0, 10**6), st.binary(max_size=9)), max_size=9),
)
def test_no_bytes_stand_for_more_than_silence_may(
    honest: list[bytes], kind: int, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(honest[kind])
    for at, overwritten in changes:
        start = at % len(data)
        data[start : start + len(overwritten)] = overwritten
    with suppress(AudioFormatError):
        assert len(streamed(bytes(data), 5_000)) < 700 * SAMPLE_RATE


MAGIC = [
    hostile.wav()[:44],
    hostile.rf64(10**6)[:80],
    b"fLaC\x00\x00\x00\x22",
    hostile.flac_of_silence(2),
    b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x01",
    b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff",
    hostile.mp4_that_refers_to(Path("/etc/hostname"))[:700],
    b"\x00\x00\x00\x14ftypisom\x00\x00\x00\x00isom",
    b"FORM\x00\x00\x10\x00AIFFCOMM\x00\x00\x00\x12",
    b"ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x64",
    b"\xff\xf1\x50\x80\x02\x1f\xfc",
    b"#!AMR\n",
    b".snd\x00\x00\x00\x18",
    b"caff\x00\x01\x00\x00desc",
    b"RIFF\x00\x10\x00\x00AVI LIST",
    b"FLV\x01\x04\x00\x00\x00\x09\x00\x00\x00\x00",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    b"\x47\x40\x00\x10\x00",
    b"\x00\x00\x01\xba",
    hostile.SDP,
    b"#EXTM3U\n",
    b"ffconcat version 1.0\n",
]


@given(magic=st.sampled_from(MAGIC), garbage=st.lists(st.binary(max_size=2_000) | st.sampled_from(MAGIC), max_size=4))
def test_anything_is_audio_or_refused(magic: bytes, garbage: list[bytes]) -> None:
    said = ""
    try:
        samples, _ = heard([magic, *garbage])
        assert 0 < np.abs(samples, out=samples).max(initial=1e-9) <= 1
    except AudioFormatError as error:
        said = str(error)
    # Its process has not died of it.
    assert "crashed" not in said
    assert "\n" not in said
