"""A replica without threads or models, for speech of blocks: a run of equal samples is a word, and zeros are silence.

It tells a word once the next run has begun, and the end of an utterance after half a second of silence. What it has
received lately it has not decoded yet, as much as `lag` samples.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, Word
from streaming.cluster.line import Audio, Clear, Command, End, Flush, Open, Report, Skip
from streaming.events import (
    AudioDropped,
    Cleared,
    Draft,
    Event,
    Flushed,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Words,
)

WORD_SAMPLES, GAP_SAMPLES, SILENCE_SAMPLES = 8_000, 1_600, 24_000
_OFFSET_SAMPLES = 8_000
# What is left of a word at the beginning of what is heard again is no word.
_SHORTEST = WORD_SAMPLES // 2


def text_of(word: int) -> str:
    return f" w{word}"


def blocks(words: Iterable[int], pauses: Sequence[int]) -> NDArray[np.float32]:
    """words: from 1, none twice in a row; pauses: after each, in samples."""
    parts = [
        part
        for word, pause in zip(words, pauses, strict=True)
        for part in (np.full(WORD_SAMPLES, word / 128, np.float32), np.zeros(pause, np.float32))
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _runs(samples: NDArray[np.float32]) -> list[tuple[float, int]]:
    """Values and lengths of what is equal."""
    edges = [0, *(np.flatnonzero(np.diff(samples)) + 1).tolist(), len(samples)]
    return [(float(samples[start]), stop - start) for start, stop in pairwise(edges) if stop > start]


class BlockSession:
    """One session of it."""

    def __init__(self) -> None:
        self._heard, self._start = np.zeros(0, np.float32), 0
        self._utterance, self._is_open = 0, False
        self.n_taken = 0

    def take(self, samples: NDArray[np.float32], lag: int = 0) -> list[Event]:
        self._heard = np.concatenate([self._heard, samples])
        self.n_taken += len(samples)
        return self._decoded(max(0, len(self._heard) - lag), is_whole=False)

    def flush(self) -> list[Event]:
        return [*self._all(), Flushed(self.n_taken / SAMPLE_RATE)]

    def skip(self, n_samples: int) -> list[Event]:
        told, start = self._all(), self.n_taken
        self._go_to(start + n_samples)
        return [*told, AudioDropped(start / SAMPLE_RATE, self.n_taken / SAMPLE_RATE)]

    def clear(self, n_samples: int) -> list[Event]:
        ended = self._ended(self.n_taken)
        self._go_to(self.n_taken + n_samples)
        return [*ended, Cleared(self.n_taken / SAMPLE_RATE)]

    def end(self) -> list[Event]:
        return [*self._all(), Recognised(self.n_taken / SAMPLE_RATE)]

    def _all(self) -> list[Event]:
        told = self._decoded(len(self._heard), is_whole=True)
        told += self._ended(self.n_taken)
        self._go_to(self.n_taken)
        return told

    def _go_to(self, sample: int) -> None:
        self._heard, self._start, self.n_taken = np.zeros(0, np.float32), sample, sample

    def _decoded(self, stop: int, *, is_whole: bool) -> list[Event]:
        told, at = list[Event](), 0
        runs = _runs(self._heard[:stop])
        for n, (value, length) in enumerate(runs):
            is_last = n == len(runs) - 1
            if value and (not is_last or is_whole):
                told += self._word(round(value * 128), self._start + at, length)
            elif value:
                told += self._draft(round(value * 128), self._start + at, length)
                break
            elif length >= _OFFSET_SAMPLES:
                told += self._ended(self._start + at + _OFFSET_SAMPLES)
            if is_last and not value:
                # Silence may go on.
                break
            at += length
        self._heard, self._start = self._heard[at:], self._start + at
        return told

    def _word(self, word: int, start: int, length: int) -> list[Event]:
        if length < _SHORTEST:
            return []
        spoken = Word(text_of(word), start / SAMPLE_RATE, (start + length) / SAMPLE_RATE, 1.0)
        return [*self._started(start), Words((spoken,), (start + length) / SAMPLE_RATE, self._utterance)]

    def _draft(self, word: int, start: int, length: int) -> list[Event]:
        if length < _SHORTEST:
            return []
        drafted = Word(text_of(word), start / SAMPLE_RATE, (start + length) / SAMPLE_RATE, 1.0)
        return [*self._started(start), Draft((drafted,), self._utterance)]

    def _started(self, start: int) -> list[Event]:
        if self._is_open:
            return []
        self._is_open = True
        self._utterance += 1
        return [SpeechStarted(start / SAMPLE_RATE, self._utterance)]

    def _ended(self, at: int) -> list[Event]:
        if not self._is_open:
            return []
        self._is_open = False
        return [SpeechEnded(at / SAMPLE_RATE, self._utterance)]


class BlockReplica:
    """It takes so much audio at once, and is so far behind, in samples."""

    def __init__(self, room: int, lag: int) -> None:
        self._room, self._lag = room, lag
        self._sessions: dict[str, BlockSession] = {}

    def exchange(self, commands: Sequence[Command]) -> dict[str, Report]:
        told = dict[str, list[Event]]()
        room, is_full = self._room, False
        for command in commands:
            events = told.setdefault(command.session, [])
            if isinstance(command, Open):
                self._sessions[command.session] = BlockSession()
                continue
            session = self._sessions[command.session]
            if isinstance(command, Clear):
                events += session.clear(command.n_samples)
            elif is_full:
                continue
            elif isinstance(command, Audio):
                taken = command.samples[:room]
                events += session.take(taken, self._lag)
                room -= len(taken)
                is_full = len(taken) < len(command.samples)
            elif isinstance(command, Skip):
                events += session.skip(command.n_samples)
            elif isinstance(command, Flush):
                events += session.flush()
            elif isinstance(command, End):
                events += session.end()
        return {name: Report(name, tuple(events), self._sessions[name].n_taken) for name, events in told.items()}
