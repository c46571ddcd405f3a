"""faster-whisper, greedy, in int8, without voice activity detection: of whole recordings, and under LocalAgreement."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray

from scripts.peers.agreement import LocalAgreement, Segment, Word
from scripts.peers.job import SAMPLE_RATE, Heard, Job, Piece, Recording
from scripts.peers.meter import metered

# Whisper's samples where greedy decoding fails; all systems here are greedy.
_GREEDY = {"beam_size": 1, "temperature": 0.0, "vad_filter": False}


def _loaded(job: Job) -> Any:
    return WhisperModel(job.directory, device="cpu", compute_type="int8", cpu_threads=job.threads)


class Offline:
    """Everything known from the start: the bound."""

    def __init__(self, job: Job) -> None:
        self._model = _loaded(job)
        self._meter = metered(self._model)

    def hear(self, recording: Recording) -> Heard:
        samples = np.load(recording.samples)
        started = time.perf_counter()
        segments, _ = self._model.transcribe(samples, language=recording.language, **_GREEDY)
        text = "".join(segment.text for segment in segments)
        piece = Piece(text, recording.duration_s, time.perf_counter() - started)
        return Heard((piece,), self._meter.taken())


class Agreeing:
    """In chunks, each transcribed with all that the buffer holds."""

    def __init__(self, job: Job) -> None:
        self._model, self._chunk_samples = _loaded(job), job.chunk_samples
        self._meter = metered(self._model)

    def hear(self, recording: Recording) -> Heard:
        return Heard(tuple(self._pieces(recording)), self._meter.taken())

    def _pieces(self, recording: Recording) -> Iterator[Piece]:
        samples: NDArray[np.float32] = np.load(recording.samples)
        stream = LocalAgreement(lambda buffer, prompt: self._segments(buffer, prompt, recording.language))
        for start in range(0, len(samples), self._chunk_samples):
            end = min(start + self._chunk_samples, len(samples))
            started = time.perf_counter()
            words = stream.feed(samples[start:end])
            if end == len(samples):
                words += stream.end()
            text = "".join(word.text for word in words)
            yield Piece(text, end / SAMPLE_RATE, time.perf_counter() - started)

    def _segments(self, samples: NDArray[np.float32], prompt: str, language: str | None) -> list[Segment]:
        segments, _ = self._model.transcribe(
            samples, language=language, initial_prompt=prompt or None, word_timestamps=True, **_GREEDY
        )
        return [Segment(tuple(Word(w.word, w.start, w.end) for w in each.words), each.end) for each in segments]
