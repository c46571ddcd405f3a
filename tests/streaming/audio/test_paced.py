"""A recording heard as if it were spoken now, with the clock in the test's hands."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from simul_whisper import AudioFormatError
from streaming.audio.capture import CaptureEvent, Heard
from streaming.audio.paced import PacedRecording

Chunks = Iterator[NDArray[np.float32]]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def paced(chunks: Chunks, clock: Clock) -> PacedRecording:
    return PacedRecording("talk.wav", chunks, clock, clock.sleep)


def seconds(*lengths_s: float) -> Chunks:
    return (np.ones(round(16_000 * each), np.float32) for each in lengths_s)


def n_samples(events: list[CaptureEvent]) -> list[int]:
    return [len(event.samples) for event in events if isinstance(event, Heard)]


def test_each_chunk_comes_when_it_has_been_spoken() -> None:
    clock = Clock()
    recording = paced(seconds(0.1, 0.25, 0.1), clock)
    came = []
    while not recording.is_over:
        lengths = n_samples(recording.read(0.1))
        came += [(round(clock.now_s - 100, 6), n) for n in lengths]
    assert came == [(0.1, 1_600), (0.35, 4_000), (0.45, 1_600)]


def test_what_is_late_comes_at_once() -> None:
    clock = Clock()
    recording = paced(seconds(0.1, 0.1, 0.1), clock)
    recording.read(0.1)
    clock.now_s += 10
    late_s = clock.now_s
    assert n_samples(recording.read(0.1)) + n_samples(recording.read(0.1)) == [1_600, 1_600]
    assert clock.now_s == late_s


def test_a_recording_that_breaks_off_is_over_and_says_why() -> None:
    def broken() -> Chunks:
        yield np.ones(1_600, np.float32)
        raise AudioFormatError("it is broken")

    recording = paced(broken(), Clock())
    assert n_samples(recording.read(0.1)) == [1_600]
    assert recording.read(0.1) == []
    assert recording.is_over
    assert str(recording.error) == "it is broken"
