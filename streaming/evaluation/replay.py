"""Plays recorded audio to the engine, on the audio's own clock or in real time, and notes when each update came."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, PaddedAlignAttWhisper, Update
from streaming.events import Event

if TYPE_CHECKING:
    # Needs the extra `live`, which playing to the engine itself does not.
    from streaming.sessions.session import Session, Turn

Chunks = Iterator[NDArray[np.float32]]


@dataclass(frozen=True)
class Emission:
    """An update and its times, in seconds since the audio started.

    audio_s: how much audio had been given. ready_s: when the update was there for a speaker who talks in real time.
    compute_s: what it cost.
    """

    update: Update
    audio_s: float
    ready_s: float
    compute_s: float


@dataclass(frozen=True)
class SessionEmission:
    """What a session told after a chunk, and what each of its inferences took; the times are those of an Emission."""

    turns: "tuple[Turn, ...]"
    audio_s: float
    ready_s: float
    compute_s: float

    @property
    def events(self) -> tuple[Event, ...]:
        return tuple(event for turn in self.turns for event in turn.events)


def replay(whisper: PaddedAlignAttWhisper, chunks: Chunks) -> Iterator[Emission]:
    """Give chunk after chunk as fast as it goes; `ready_s` is computed as if each had come when it was spoken."""
    ready_s, n_samples = 0.0, 0
    for chunk, is_last in _marked(chunks):
        whisper.insert_audio(chunk)
        n_samples += len(chunk)
        audio_s = n_samples / SAMPLE_RATE
        started = time.perf_counter()
        update = whisper.infer(is_last=is_last)
        compute_s = time.perf_counter() - started
        ready_s = max(audio_s, ready_s) + compute_s
        yield Emission(update, audio_s, ready_s, compute_s)


def replay_session(session: "Session", chunks: Chunks) -> Iterator[SessionEmission]:
    """Give a session chunk after chunk, as `replay` gives them to the engine."""
    ready_s, n_samples = 0.0, 0
    for chunk, is_last in _marked(chunks):
        n_samples += len(chunk)
        audio_s = n_samples / SAMPLE_RATE
        started = time.perf_counter()
        session.take(chunk)
        if is_last:
            session.finish()
        turns: list[Turn] = []
        while session.is_due:
            turns.append(session.step())
        compute_s = time.perf_counter() - started
        ready_s = max(audio_s, ready_s) + compute_s
        yield SessionEmission(tuple(turns), audio_s, ready_s, compute_s)


def replay_realtime(
    whisper: PaddedAlignAttWhisper, chunks: Chunks, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Emission]:
    """Give each chunk when it would have been spoken, which `sleep` waits for; late chunks are taken together."""
    audio_s, origin = 0.0, time.monotonic()
    marked = _marked(chunks)
    for chunk, is_last in marked:
        whisper.insert_audio(chunk)
        audio_s += len(chunk) / SAMPLE_RATE
        sleep(max(0.0, origin + audio_s - time.monotonic()))
        # The length of the next chunk is not known yet; it is at most that of this one.
        while not is_last and time.monotonic() >= origin + audio_s + len(chunk) / SAMPLE_RATE:
            late, is_last = next(marked)
            whisper.insert_audio(late)
            audio_s += len(late) / SAMPLE_RATE
        started = time.monotonic()
        update = whisper.infer(is_last=is_last)
        ended = time.monotonic()
        yield Emission(update, audio_s, ended - origin, ended - started)


def _marked(chunks: Chunks) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Yield each chunk with whether it is the last."""
    held = next(chunks, None)
    if held is None:
        return
    for chunk in chunks:
        yield held, False
        held = chunk
    yield held, True
