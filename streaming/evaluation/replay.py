"""Plays recorded audio to a session, on the audio's own clock or in real time, and notes what it told and when.

Stages are run between two chunks, in this thread; in a server each has one of its own.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Timing, Word
from streaming.events import Event, Words
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig
from streaming.stages.stage import Stage

Chunks = Iterator[NDArray[np.float32]]

# What a device hands over at a time.
_BLOCK_SAMPLES = SAMPLE_RATE // 10
# How often stages are asked, in real time, whether they have something to tell.
_LOOK_S = 0.1


@dataclass(frozen=True)
class Emission:
    """What a session told after a chunk of audio, and its times, in seconds since the audio started.

    events: of the session, and then what its stages made of them. audio_s: how much audio had been given. ready_s: when
    the session's events were there for a speaker who talks in real time; stages_ready_s: when those of the stages were.
    compute_s: what the session's cost, stage_s: those of the stages; timing: of the decoding alone, by its parts.
    """

    events: tuple[Event, ...]
    audio_s: float
    ready_s: float
    compute_s: float
    timing: Timing = field(default_factory=Timing)
    stage_s: float = 0.0
    stages_ready_s: float = 0.0

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for event in self.events if isinstance(event, Words) for word in event.words)


@dataclass
class AudioClock:
    """How much audio was given, in seconds: for stages that go by the time of a recording."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def chunk_samples(config: AlignAttConfig, voice: VoiceConfig) -> int:
    """Return how much audio to give at a time: what a device hands over, or, with an open gate, what a pass decodes."""
    return _BLOCK_SAMPLES if voice.vad else round(config.segment_length * SAMPLE_RATE)


def replay(
    session: Session,
    chunks: Chunks,
    *,
    coalesce: bool = False,
    stages: Sequence[Stage] = (),
    clock: AudioClock | None = None,
) -> Iterator[Emission]:
    """Give chunk after chunk as fast as it goes, and the end with the last one.

    `ready_s` is computed as if each had come when it was spoken, and as if stages ran beside the session. coalesce:
    what a chunk makes due is decoded in one pass: of an open gate, the last segment and the end, which else take two.
    stages: in the order in which one reads the other. clock: that goes with the audio.
    """
    clock = clock or AudioClock()
    ready_s, stages_ready_s, n_samples = 0.0, 0.0, 0
    for chunk, is_last in _marked(chunks):
        n_samples += len(chunk)
        clock.now_s = audio_s = n_samples / SAMPLE_RATE
        started = time.perf_counter()
        session.take(chunk)
        if is_last:
            session.finish()
        events, timing = _all_due(session, coalesce=coalesce)
        compute_s = time.perf_counter() - started
        ready_s = max(audio_s, ready_s) + compute_s
        started = time.perf_counter()
        events = _staged(stages, events, is_last=is_last)
        stage_s = time.perf_counter() - started
        stages_ready_s = max(ready_s, stages_ready_s) + stage_s
        yield Emission(events, audio_s, ready_s, compute_s, timing, stage_s, stages_ready_s)


def replay_realtime(
    session: Session, chunks: Chunks, sleep: Callable[[float], None] = time.sleep, *, stages: Sequence[Stage] = ()
) -> Iterator[Emission]:
    """Give each chunk when it would have been spoken, which `sleep` waits for; late chunks are taken together.

    What stages tell between two chunks is yielded at once, as an emission of its own.
    """
    audio_s, origin = 0.0, time.monotonic()
    marked = _marked(chunks)
    for chunk, is_last in marked:
        session.take(chunk)
        heard_s, audio_s = audio_s, audio_s + len(chunk) / SAMPLE_RATE
        yield from _told_meanwhile(stages, sleep, origin, origin + audio_s, heard_s)
        # The length of the next chunk is not known yet; it is at most that of this one.
        while not is_last and time.monotonic() >= origin + audio_s + len(chunk) / SAMPLE_RATE:
            late, is_last = next(marked)
            session.take(late)
            audio_s += len(late) / SAMPLE_RATE
        if is_last:
            session.finish()
        started = time.monotonic()
        events, timing = _all_due(session, coalesce=True)
        ended = time.monotonic()
        events = _staged(stages, events, is_last=is_last)
        all_ended = time.monotonic()
        yield Emission(events, audio_s, ended - origin, ended - started, timing, all_ended - ended, all_ended - origin)


def _told_meanwhile(
    stages: Sequence[Stage], sleep: Callable[[float], None], origin: float, until: float, heard_s: float
) -> Iterator[Emission]:
    """Wait until then, and look now and then what stages have done."""
    n_looks = max(1, math.ceil((until - time.monotonic()) / _LOOK_S)) if stages else 1
    for n_left in range(n_looks, 0, -1):
        sleep(max(0.0, (until - time.monotonic()) / n_left))
        started = time.monotonic()
        events = _staged(stages, (), is_last=False)
        if events:
            now_s = time.monotonic() - origin
            yield Emission(events, heard_s, now_s, 0.0, stage_s=now_s + origin - started, stages_ready_s=now_s)


def _staged(stages: Sequence[Stage], events: tuple[Event, ...], *, is_last: bool) -> tuple[Event, ...]:
    """Return the events with what each stage makes of those before it."""
    for stage in stages:
        events += tuple(stage.feed(events))
        if is_last:
            events += tuple(stage.flush())
    return events


def _all_due(session: Session, *, coalesce: bool) -> tuple[tuple[Event, ...], Timing]:
    turns = []
    while session.is_due:
        turns.append(session.step(coalesce=coalesce))
    return tuple(event for turn in turns for event in turn.events), Timing.sum_of(turn.timing for turn in turns)


def _marked(chunks: Chunks) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Yield each chunk with whether it is the last."""
    held = next(chunks, None)
    if held is None:
        return
    for chunk in chunks:
        yield held, False
        held = chunk
    yield held, True
