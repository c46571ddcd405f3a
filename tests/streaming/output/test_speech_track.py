"""Speech on the clock of its recording: never before its text, never over the speech before, whole at any moment."""

import errno
import os
import wave
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, ConfigError, as_s16
from streaming.events import SpeechSkipped, Spoken
from streaming.output.durable import OutputError
from streaming.output.speech_track import RATE, SpeechTrack


@pytest.fixture
def track(tmp_path: Path) -> Iterator[SpeechTrack]:
    """Of the transcript, without the original."""
    with closing(SpeechTrack(tmp_path / "out.wav", "")) as opened:
        yield opened


def spoken(samples: NDArray[np.float32], rate: int = RATE, *, is_last: bool = True, target: str = "") -> Spoken:
    return Spoken(target, "word", as_s16(samples).tobytes(), rate, 0.0, 1.0, is_last)


def constant(duration_s: float, level: float = 0.5, rate: int = RATE) -> NDArray[np.float32]:
    return np.full(round(duration_s * rate), level, np.float32)


def read(path: Path) -> NDArray[np.float32]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32767)


def sounding(samples: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Where it is not silent, in seconds."""
    loud = np.flatnonzero(np.diff(np.concatenate([[0], np.abs(samples) > 0.01, [0]]).astype(int)))
    return [(start / RATE, end / RATE) for start, end in loud.reshape(-1, 2)]


def test_speech_begins_when_its_text_is_known_and_after_what_was_said(track: SpeechTrack) -> None:
    track.feed(spoken(constant(1.0)), 1.0)
    track.write_until(1.5)
    assert sounding(read(track.path)) == [(1.0, 1.5)]
    # Known while the first is heard; the third after silence.
    track.feed(spoken(constant(1.0, -0.4)), 1.5)
    track.feed(spoken(constant(0.5, 0.3)), 4.0)
    track.write_until(4.0)
    track.end()
    written = read(track.path)
    assert sounding(written) == [(1.0, 3.0), (4.0, 4.5)]
    assert written[round(2.5 * RATE)] == pytest.approx(-0.4, abs=1e-4)
    assert len(written) == 4.5 * RATE


def test_only_its_own_target_is_in_a_file(track: SpeechTrack) -> None:
    for target in ("de", "fr"):
        track.feed(spoken(constant(1.0), target=target), 0.0)
    track.end()
    assert len(read(track.path)) == 0


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_however_it_comes_the_file_is_the_same_and_whole_at_any_moment(
    data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A sentence in pieces, at the rate of its voice, known at some time; the original in blocks of any size."""
    folder, is_over = tmp_path_factory.mktemp("tracks"), data.draw(st.booleans())
    seed, rate = data.draw(st.integers(0, 9)), data.draw(st.sampled_from([16_000, 22_050, RATE]))
    random = np.random.default_rng(seed)
    original = np.asarray(0.3 * random.standard_normal(3 * SAMPLE_RATE), np.float32)
    sentence = np.asarray(np.clip(0.2 * random.standard_normal(rate), -1, 1), np.float32)
    known_s = data.draw(st.sampled_from([0.5, 1.0, 2.5]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sentence)), max_size=4)))
    blocks = sorted(data.draw(st.lists(st.integers(0, len(original)), max_size=4)))
    with closing(SpeechTrack(folder / "whole.wav", "", is_over=is_over)) as whole:
        whole.hear(original)
        whole.feed(spoken(sentence, rate), known_s)
        whole.end()
    with closing(SpeechTrack(folder / "pieces.wav", "", is_over=is_over)) as pieces:
        for start, end in zip([0, *blocks], [*blocks, len(original)], strict=True):
            pieces.hear(original[start:end])
            pieces.write_until(min(known_s, end / SAMPLE_RATE))
        for start, end in zip([0, *cuts], [*cuts, len(sentence)], strict=True):
            pieces.feed(spoken(sentence[start:end], rate, is_last=False), known_s)
        pieces.feed(spoken(np.zeros(0, np.float32), rate), known_s)
        read(pieces.path)
        pieces.end()
    assert np.abs(read(whole.path) - read(pieces.path)).max(initial=0) < 2e-4
    assert len(read(whole.path)) == pytest.approx(RATE * (3 if is_over and known_s < 2 else known_s + 1), abs=RATE / 50)


def test_the_original_is_heard_low_underneath_where_it_was_said(tmp_path: Path) -> None:
    original = np.zeros(3 * SAMPLE_RATE, np.float32)
    original[SAMPLE_RATE : 2 * SAMPLE_RATE] = 0.5
    with closing(SpeechTrack(tmp_path / "over.wav", "", is_over=True)) as track:
        track.hear(original)
        track.write_until(1.5)
        track.feed(spoken(constant(1.0)), 1.5)
        track.end()
    written = read(track.path)
    assert len(written) == pytest.approx(3 * RATE, abs=2)
    low = 0.5 * 10 ** (-16 / 20)
    for at_s, level in ((0.5, 0.0), (1.25, low), (1.75, 0.5 + low), (2.25, 0.5), (2.75, 0.0)):
        assert written[round(at_s * RATE)] == pytest.approx(level, abs=0.01)


def test_a_sentence_that_a_voice_did_not_finish_is_there_to_where_it_came(track: SpeechTrack) -> None:
    track.feed(spoken(constant(1.0, rate=16_000), 16_000, is_last=False), 0.0)
    track.feed(SpeechSkipped("", "word", 0.0, 1.0, "hoarse"), 0.0)
    track.feed(spoken(constant(0.5), is_last=False), 2.0)
    track.end()
    assert len(read(track.path)) == pytest.approx(2.5 * RATE, abs=RATE / 50)


def test_a_file_that_cannot_be_made_or_written_is_said_in_a_line(
    track: SpeechTrack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        SpeechTrack(tmp_path / "missing" / "out.wav", "")
    with pytest.raises(ConfigError, match="needs a file"):
        SpeechTrack(Path(os.devnull), "")
    track.feed(spoken(constant(1.0)), 0.0)
    track.write_until(0.5)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        track.end()
    assert len(read(track.path)) == RATE / 2
