"""Playing recorded audio: what is given, and the clocks."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, PaddedAlignAttWhisper, Word
from streaming.audio.files import chunked
from streaming.evaluation.replay import Emission, chunk_samples, replay, replay_realtime
from streaming.events import Event, Recognised, Translation, Words
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig
from tests.tones import random_words, speech_of, tone_model

CONFIG = AlignAttConfig(language="en", padding_len=1.0, segment_length=1.0)
MODEL = tone_model()
SPEECH = speech_of(random_words(16, 1))
OPEN = VoiceConfig(vad=False)


def session() -> Session:
    return Session(CONFIG, MODEL, OPEN)


def silence(*lengths_s: float) -> Iterator[NDArray[np.float32]]:
    return (np.zeros(round(length * SAMPLE_RATE), np.float32) for length in lengths_s)


def text_of(emissions: list[Emission]) -> str:
    return "".join(word.text for emission in emissions for word in emission.words)


def test_every_chunk_is_given_once_and_the_end_with_the_last() -> None:
    emissions = list(replay(session(), silence(1.0, 1.0, 0.3)))
    assert [emission.audio_s for emission in emissions] == pytest.approx([1.0, 2.0, 2.3])
    assert [Recognised(2.3) in emission.events for emission in emissions] == [False, False, True]


def test_however_the_audio_is_cut_all_is_heard() -> None:
    emissions = list(replay(session(), iter(np.array_split(SPEECH.samples, 37))))
    assert text_of(emissions) == SPEECH.text
    assert emissions[-1].audio_s == len(SPEECH.samples) / SAMPLE_RATE
    assert any(emission.words for emission in emissions[:-1])


@pytest.mark.parametrize("n_samples", [4 * SAMPLE_RATE, 4 * SAMPLE_RATE - 1, 3 * SAMPLE_RATE + 1])
def test_a_chunk_is_one_pass_of_the_engine_also_the_last(n_samples: int) -> None:
    chunks = [*chunked([SPEECH.samples[:n_samples]], chunk_samples(CONFIG, OPEN))]
    whisper = PaddedAlignAttWhisper(CONFIG, MODEL)
    words = []
    for n, chunk in enumerate(chunks, 1):
        whisper.insert_audio(chunk)
        words.append(whisper.infer(is_last=n == len(chunks)).words)
    emissions = list(replay(session(), iter(chunks), coalesce=True))
    assert [emission.words for emission in emissions] == words
    assert [emission.timing.windows for emission in emissions] == [1, 1, 1, 1]


def test_a_chunk_is_ready_after_it_was_spoken_and_computed_and_after_the_one_before() -> None:
    emissions = list(replay(session(), silence(0.5, 0.5, 0.5)))
    ready_s = 0.0
    for emission in emissions:
        ready_s = max(ready_s, emission.audio_s) + emission.compute_s
        assert emission.ready_s == pytest.approx(ready_s)


def test_in_real_time_all_audio_is_given() -> None:
    emissions = list(replay_realtime(session(), silence(*[0.01] * 40)))
    assert emissions[-1].audio_s == pytest.approx(0.4)
    assert emissions[-1].events[-1] == Recognised(0.4)
    assert all(emission.ready_s >= emission.audio_s for emission in emissions)


def test_in_real_time_late_chunks_are_taken_together_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, lost_s = 0.0, 3.5

    def sleep(seconds: float) -> None:
        nonlocal now_s, lost_s
        now_s, lost_s = now_s + seconds + lost_s, 0.0

    monkeypatch.setattr("streaming.evaluation.replay.time", SimpleNamespace(monotonic=lambda: now_s))
    emissions = list(replay_realtime(session(), chunked([SPEECH.samples], SAMPLE_RATE), sleep))
    assert [emission.audio_s for emission in emissions] == [4, 5, 6, 7, 8]
    assert [emission.ready_s for emission in emissions] == [4.5, 5, 6, 7, 8]
    assert [emission.timing.windows for emission in emissions] == [1, 1, 1, 1, 1]
    assert text_of(emissions) == SPEECH.text


@dataclass
class Shouting:
    """Translates each event at once into capitals, or into those of what it reads; the last one only when flushed."""

    target: str
    reads: str = ""
    held: list[Translation] = field(default_factory=list)
    woken: threading.Event = field(default_factory=threading.Event)

    def feed(self, events: Sequence[Event]) -> list[Translation]:
        for event in events:
            if isinstance(event, Words) and not self.reads:
                self.held.append(Translation(self.target, self._shouted(event.words), 0, event.heard_s))
            elif isinstance(event, Translation) and event.target == self.reads:
                self.held.append(Translation(self.target, self._shouted(event.words), 0, event.source_end_s))
        told, self.held = self.held[:-1], self.held[-1:]
        return told

    def flush(self) -> list[Translation]:
        return self.held

    @staticmethod
    def _shouted(words: Sequence[Word]) -> tuple[Word, ...]:
        return tuple(Word(word.text.upper() + "!", word.start_s, word.end_s, 1.0) for word in words)


@pytest.mark.parametrize("played", [replay, replay_realtime])
def test_stages_are_told_all_and_flushed_and_each_reads_those_before_it(played: Any) -> None:
    stages = [Shouting("loud"), Shouting("louder", reads="loud")]
    chunks = chunked([SPEECH.samples[: 3 * SAMPLE_RATE]], SAMPLE_RATE // 50)
    emissions = list(played(session(), chunks, stages=stages))
    text = text_of(emissions)
    told = [event for emission in emissions for event in emission.events if isinstance(event, Translation)]
    loud, louder = ("".join(each.text for each in told if each.target == name) for name in ("loud", "louder"))
    assert loud == "".join(f" {word}!" for word in text.upper().split())
    assert louder == loud.replace("!", "!!")
    is_last = [isinstance(event, Recognised) for event in emissions[-1].events]
    assert sum(is_last) == 1, "the session's events come before those of the stages"
    assert all(isinstance(event, Translation) for event in emissions[-1].events[is_last.index(True) + 1 :])


def test_the_time_of_stages_is_not_the_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    class Slow(Shouting):
        def feed(self, events: Sequence[Event]) -> list[Translation]:
            nonlocal now_s
            now_s += 1.5
            return super().feed(events)

    monkeypatch.setattr("streaming.evaluation.replay.time", SimpleNamespace(perf_counter=lambda: now_s))
    chunks = chunked([SPEECH.samples[: 3 * SAMPLE_RATE]], SAMPLE_RATE)
    emissions = list(replay(session(), chunks, stages=[Slow("loud")]))
    assert [(each.ready_s, each.stage_s, each.stages_ready_s) for each in emissions] == [
        (1.0, 1.5, 2.5),
        (2.0, 1.5, 4.0),
        (3.0, 1.5, 5.5),
    ]


def test_in_real_time_stages_are_heard_between_two_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    class Late(Shouting):
        """It tells everything 0.45 s after it heard it."""

        heard_at_s = 0.0

        def feed(self, events: Sequence[Event]) -> list[Translation]:
            if events:
                self.heard_at_s = now_s
                self.held += super().feed(events)
                return []
            told, self.held = (self.held, []) if now_s >= self.heard_at_s + 0.45 else ([], self.held)
            return told

    monkeypatch.setattr("streaming.evaluation.replay.time", SimpleNamespace(monotonic=lambda: now_s))
    chunks = chunked([SPEECH.samples[: 4 * SAMPLE_RATE]], SAMPLE_RATE)
    emissions = list(replay_realtime(session(), chunks, sleep, stages=[Late("loud")]))
    told = [(each.audio_s, round(each.ready_s, 3)) for each in emissions if not each.timing.windows]
    assert told
    assert all(ready_s == audio_s + 0.5 for audio_s, ready_s in told)
    assert [each.audio_s for each in emissions if each.timing.windows] == [1, 2, 3, 4]
    assert all(isinstance(event, Translation) for each in emissions if not each.timing.windows for event in each.events)


def test_no_audio_gives_nothing() -> None:
    assert list(replay(session(), silence())) == []
    assert list(replay_realtime(session(), silence())) == []


def test_with_voice_activity_audio_comes_as_from_a_device() -> None:
    assert chunk_samples(CONFIG, VoiceConfig()) == 1600
    assert chunk_samples(AlignAttConfig(segment_length=0.5), OPEN) == 8000
