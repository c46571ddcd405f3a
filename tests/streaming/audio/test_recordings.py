"""Recordings with late starts, gaps, damage, several tracks and channels, from files, standard input and URLs."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AudioFormatError, ConfigError
from streaming.audio.files import open_recording, read_audio
from streaming.audio.report import Report
from streaming.settings import RecordingConfig
from tests.streaming.audio.made_recordings import gap, heard_spans, tone, write_tracks

ROOT = Path(__file__).parents[3]
CASES = Path(__file__).parents[4] / "shared" / "cases"

CONTAINERS = [("webm", "libopus"), ("mkv", "aac"), ("mp4", "aac"), ("ts", "aac")]


def read(source: Path | str, **settings: Any) -> tuple[list[NDArray[np.float32]], Report, list[str]]:
    """The samples of each source, and what there is to tell."""
    with open_recording(source, RecordingConfig(**settings)) as recording:
        notices = recording.notices()
        samples = [np.concatenate(list(each.blocks)) for each in recording.sources]
        return samples, recording.report, [*notices, *recording.notices(), *recording.notices()]


def spans_near(samples: NDArray[np.float32], *expected: tuple[float, float]) -> bool:
    """Whether there is sound just there, to a codec's frame."""
    return np.allclose(heard_spans(samples), expected, atol=0.07)


# Time


@pytest.mark.parametrize(("extension", "codec"), CONTAINERS)
def test_a_gap_is_silence(tmp_path: Path, extension: str, codec: str) -> None:
    path = write_tracks(tmp_path / f"a.{extension}", [[tone(8)]], codec, change=gap(2, 6))
    (samples,), report, notices = read(path)
    assert spans_near(samples, (0, 2), (6, 8))
    assert [(span.start_s, span.end_s) for span in report.without_audio] == [pytest.approx((2, 6), abs=0.07)]
    assert not report.undecoded
    assert notices == [f"{path}: no audio in the file, so silence, at 2.0-6.0 s"]


@pytest.mark.parametrize(("extension", "codec"), CONTAINERS[1:])
def test_audio_that_starts_late_in_a_video_is_late(tmp_path: Path, extension: str, codec: str) -> None:
    path = tmp_path / f"a.{extension}"
    write_tracks(path, [[tone(2)]], codec, change=lambda start_s: start_s + 5, video_s=7)
    (samples,), _, notices = read(path)
    assert spans_near(samples, (5, 7))
    assert notices == []


@pytest.mark.parametrize("start_s", [1e3, 1e6, 90_000.0])
def test_time_counts_from_the_containers_start(tmp_path: Path, start_s: float) -> None:
    path = write_tracks(tmp_path / "a.ts", [[tone(4)]], "aac", change=lambda at_s: start_s % 95_000 + at_s)
    (samples,), _, notices = read(path)
    assert spans_near(samples, (0, 4))
    assert notices == []


def test_an_overlap_is_cut(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.ts", [[tone(4)]], "aac")
    later = write_tracks(tmp_path / "b.ts", [[tone(4)]], "aac", change=lambda at_s: at_s + 3)
    path.write_bytes(path.read_bytes() + later.read_bytes())
    (samples,), _, notices = read(path)
    assert spans_near(samples, (0, 7))
    assert notices == []


def test_joined_transport_streams_go_on(tmp_path: Path) -> None:
    data = write_tracks(tmp_path / "a.ts", [[tone(3)]], "aac").read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(3 * data)
    (samples,), report, notices = read(path)
    assert len(samples) / SAMPLE_RATE == pytest.approx(9, abs=0.2)
    assert len(report.jumps) == 2
    assert "the timestamps jump" in notices[0]


def test_a_timestamp_of_a_day_makes_no_day_of_silence(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.ts", [[tone(4)]], "aac", change=lambda at_s: at_s if at_s < 2 else at_s + 80_000)
    (samples,), report, _ = read(path)
    assert spans_near(samples, (0, 4))
    assert report.jumps[0].by_s == pytest.approx(80_000, abs=0.1)


@pytest.mark.parametrize("codec", ["libopus", "aac"])
def test_times_in_milliseconds_make_no_gaps(tmp_path: Path, codec: str) -> None:
    path = write_tracks(tmp_path / "a.mkv", [[tone(20)]], codec)
    whole = read_audio(write_tracks(tmp_path / "a.ogg", [[tone(20)]], "libopus"))
    assert abs(len(read_audio(path)) - len(whole)) < 0.05 * SAMPLE_RATE
    assert len(heard_spans(read_audio(path))) == 1


# Damage


def overwritten(path: Path, from_part: float, to_part: float) -> Path:
    data = bytearray(path.read_bytes())
    start, stop = round(from_part * len(data)), round(to_part * len(data))
    data[start:stop] = b"\x55" * (stop - start)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("extension", "codec"),
    [("mp3", "libmp3lame"), ("mp4", "aac"), ("ac3", "ac3"), ("flac", "flac"), ("ts", "aac")],
)
def test_damage_is_silence_and_told_in_seconds(tmp_path: Path, extension: str, codec: str) -> None:
    path = write_tracks(tmp_path / f"a.{extension}", [[tone(10)]], codec)
    n_samples = len(read_audio(path))
    (samples,), report, notices = read(overwritten(path, 0.4, 0.6))
    assert len(samples) / SAMPLE_RATE == pytest.approx(n_samples / SAMPLE_RATE, abs=0.2)
    assert sum(span.duration_s for span in report.undecoded) == pytest.approx(2, abs=0.5)
    # Whole packets are lost, and what stands before the audio counts too.
    assert report.undecoded[0].start_s == pytest.approx(4, abs=0.8)
    assert report.undecoded[-1].end_s == pytest.approx(6, abs=0.8)
    lost_s = sum(span.duration_s for span in report.undecoded)
    assert notices[0].startswith(f"{path}: could not decode {lost_s:.1f} of {report.duration_s:.1f} s: ")


@pytest.mark.parametrize(("extension", "codec"), [("webm", "libopus"), ("mkv", "aac"), ("ogg", "libopus")])
def test_a_hole_in_the_bytes_is_damage_and_no_pause(tmp_path: Path, extension: str, codec: str) -> None:
    path = write_tracks(tmp_path / f"a.{extension}", [[tone(30)]], codec)
    (samples,), report, notices = read(overwritten(path, 0.4, 0.6))
    assert len(samples) / SAMPLE_RATE == pytest.approx(30, abs=0.1)
    assert sum(span.duration_s for span in report.undecoded) > 5
    assert not report.without_audio
    assert "could not decode" in notices[0]


@pytest.mark.parametrize(("extension", "codec"), [("webm", "libopus"), ("flac", "flac")])
def test_an_end_that_is_missing_is_told(tmp_path: Path, extension: str, codec: str) -> None:
    path = write_tracks(tmp_path / f"a.{extension}", [[tone(10)]], codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    _, report, notices = read(path)
    assert report.duration_s == pytest.approx(10, abs=0.1)
    assert report.undecoded[-1].end_s == pytest.approx(10, abs=0.1)
    assert "could not decode" in notices[0]


def test_nothing_is_told_of_a_whole_file(tmp_path: Path) -> None:
    for extension, codec in [*CONTAINERS, ("mp3", "libmp3lame"), ("flac", "flac"), ("wav", "pcm_s16le")]:
        assert read(write_tracks(tmp_path / f"a.{extension}", [[tone(3), tone(3)]], codec))[2] == []


# Tracks


def two_tracks(path: Path) -> Path:
    return write_tracks(path, [[tone(2, 300)], [tone(3, 2000)]], languages=["fra", "eng"], default=1)


def hertz(samples: NDArray[np.float32]) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize(
    ("wanted", "expected_hertz"), [("", 2000), ("1", 300), ("2", 2000), ("fr", 300), ("fra", 300), ("en", 2000)]
)
def test_the_track(tmp_path: Path, wanted: str, expected_hertz: float) -> None:
    path = two_tracks(tmp_path / "a.mkv")
    (samples,), report, notices = read(path, track=wanted)
    assert hertz(samples) == pytest.approx(expected_hertz, abs=5)
    assert notices == [f"{path}: audio track {report.track.number} is heard, of 1 (fra), 2 (eng, default)"]


def test_a_track_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AudioFormatError, match=r"there is no audio track '3'; it has 1 \(fra\), 2 \(eng, default\)"):
        read(two_tracks(tmp_path / "a.mkv"), track="3")


# Channels


def test_channels_in_opposite_phase_are_heard_and_told(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.wav", [[tone(2), -tone(2)]], "pcm_s16le")
    (samples,), report, notices = read(path)
    assert np.abs(samples).max() == pytest.approx(0.2, abs=0.01)
    assert report.opposite_s == pytest.approx(2.0, abs=0.01)
    assert notices == [
        f"{path}: channels were in opposite phase for 2.0 s; they were turned around, so that they do not cancel"
    ]


def test_each_channel_by_itself(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.wav", [[tone(2, 300), tone(2, 2000)]], "pcm_s16le")
    with open_recording(path, RecordingConfig(channels="separate")) as recording:
        assert [source.label for source in recording.sources] == ["left", "right"]
        left, right = (np.concatenate(list(source.blocks)) for source in recording.sources)
    assert (round(hertz(left)), round(hertz(right)), len(left)) == (300, 2000, len(right))
    assert np.array_equal(read(path, channels="2")[0][0], right)


def test_one_channel_has_no_label(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.wav", [[tone(1)]], "pcm_s16le")
    with open_recording(path, RecordingConfig(channels="separate")) as recording:
        assert [source.label for source in recording.sources] == [""]


def test_channels_that_are_not_there(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.wav", [[tone(1), tone(1)]], "pcm_s16le")
    with pytest.raises(AudioFormatError, match="there is no channel 3; it has 2"):
        read(path, channels="3")
    with pytest.raises(ConfigError, match="open_recording"):
        read_audio(path, RecordingConfig(channels="separate"))


@pytest.mark.parametrize("channels", ["", "0", "-1", "left", "1.5"])
def test_impossible_channels(channels: str) -> None:
    with pytest.raises(ConfigError, match="expected mix, separate, or a number"):
        RecordingConfig(channels=channels)


# Standard input and URLs


READ = """
import sys
from streaming.audio.files import open_recording
from simul_whisper import AudioFormatError
try:
    print(sum(len(block) for block in open_recording(sys.argv[1]).sources[0].blocks))
except AudioFormatError as error:
    print(error)
"""


def said(source: str, **standard_input: Any) -> str:
    command = [sys.executable, "-c", READ, source]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, **standard_input)
    return str(done.stdout, "utf-8")


@pytest.mark.parametrize(("extension", "codec"), [("webm", "libopus"), ("wav", "pcm_s16le"), ("mp4", "aac")])
def test_standard_input(tmp_path: Path, extension: str, codec: str) -> None:
    path = write_tracks(tmp_path / f"a.{extension}", [[tone(2)]], codec)
    expected = f"{len(read_audio(path))}\n"
    with path.open("rb") as file:
        assert said("-", stdin=file) == expected
    if extension == "mp4":
        assert "an mp4 whose index is at its end cannot be streamed" in said("-", input=path.read_bytes())
    else:
        assert said("-", input=path.read_bytes()) == expected


@pytest.mark.parametrize("data", [b"", b"hello\n" * 1000])
def test_standard_input_without_audio(data: bytes) -> None:
    assert said("-", input=data).startswith("standard input: Invalid data found")


def test_a_terminal_is_no_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    with pytest.raises(AudioFormatError, match="is a terminal"):
        open_recording("-")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_is_the_file(tmp_path: Path, url: str) -> None:
    path = write_tracks(tmp_path / "a.webm", [[tone(2)]])
    (samples,), _, notices = read(f"{url}/a.webm")
    assert np.array_equal(samples, read_audio(path))
    assert notices == []
    assert np.array_equal(read(f"HTTP{url[4:]}/a.webm")[0][0], samples)


def test_urls_that_cannot_be_heard(tmp_path: Path, url: str) -> None:
    (tmp_path / "page.html").write_text("<p>Not a sound.</p>")
    write_tracks(tmp_path / "private.ts", [[tone(2)]], "aac")
    playlist = f"#EXTM3U\n#EXTINF:2,\nfile://{tmp_path}/private.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(playlist)
    for name, message in [("none.mp3", "404 Not Found"), ("page.html", "expected a wav"), ("list.m3u8", "")]:
        with pytest.raises(AudioFormatError, match=f"{url}/{name}: .*{message}") as error:
            read(f"{url}/{name}")
        assert "\n" not in str(error.value)


def test_what_is_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudioFormatError, match="Connection refused"):
        read("http://127.0.0.1:1/a.mp3")
    with pytest.raises(AudioFormatError, match="rtsp URLs cannot be opened"):
        read("rtsp://127.0.0.1/a")
    monkeypatch.chdir(tmp_path)
    write_tracks(Path("a.wav"), [[tone(1)]], "pcm_s16le").rename("tcp:a.wav")
    assert len(read("tcp:a.wav")[0][0]) == SAMPLE_RATE


# From the wild


@pytest.mark.skipif(not CASES.exists(), reason="needs the shared cases")
@pytest.mark.parametrize(
    ("name", "spans", "notice"),
    [
        ("b01_phase_inverted_stereo.wav", [(0, 2.7)], "opposite phase for 2.7 s"),
        ("b03_audio_delay5.mkv", [(5, 7.7)], ""),
        ("b03_audio_delay5.mp4", [(5, 7.7)], ""),
        ("b05_two_tracks_default_second.mkv", [(0, 2.7)], "track 2 is heard, of 1 (fra), 2 (eng, default)"),
        ("c01_dtx_gap10s.webm", [(0, 2.7), (12.7, 15.4)], "silence, at 3.2-12.4 s"),
        ("c01_gap10s.mp4", [(0, 2.7), (12.7, 15.4)], "silence, at 3.2-12.4 s"),
        ("c01_gap10s.ts", [(0, 1.9), (12.7, 15.4)], "silence, at 1.9-11.0 s"),
        ("c02_mp3_40pct_overwritten.mp3", [(0, 2.7), (12.7, 15.4)], "could not decode 6.3 of 15.4 s: 4.6-10.8 s"),
    ],
)
def test_cases(name: str, spans: list[tuple[float, float]], notice: str) -> None:
    (samples,), _, notices = read(CASES / name)
    assert [notice in each for each in notices] == [True] * bool(notice)
    loud = np.array(heard_spans(samples, level=0.01))
    for start_s, end_s in spans:
        inside = loud[(loud[:, 0] > start_s - 0.1) & (loud[:, 1] < end_s + 0.1)]
        assert inside[0][0] == pytest.approx(start_s, abs=0.3)
        assert inside[-1][1] == pytest.approx(end_s, abs=0.4)
