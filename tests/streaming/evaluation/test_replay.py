"""Playing recorded audio: what is given, and the clocks."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, PaddedAlignAttWhisper, load_model
from streaming.evaluation.replay import replay, replay_realtime, replay_session
from streaming.events import Ended, Words
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig
from tests.tones import random_words, speech_of, tone_model


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(AlignAttConfig(model_name="tiny.en"))


def silence(*lengths_s: float) -> Iterator[NDArray[np.float32]]:
    return (np.zeros(round(length * SAMPLE_RATE), np.float32) for length in lengths_s)


def listener(model: Model) -> PaddedAlignAttWhisper:
    return PaddedAlignAttWhisper(AlignAttConfig(model_name="tiny.en", padding_len=1.0), model)


def test_every_chunk_is_given_once_and_only_the_last_is_last(model: Model) -> None:
    emissions = list(replay(listener(model), silence(1.0, 1.0, 0.3)))
    assert [emission.audio_s for emission in emissions] == pytest.approx([1.0, 2.0, 2.3])
    assert [emission.update.is_last for emission in emissions] == [False, False, True]
    assert emissions[-1].update.audio_end_s == pytest.approx(2.3)


def test_a_chunk_is_ready_after_it_was_spoken_and_computed_and_after_the_one_before(model: Model) -> None:
    emissions = list(replay(listener(model), silence(0.5, 0.5, 0.5)))
    ready_s = 0.0
    for emission in emissions:
        ready_s = max(ready_s, emission.audio_s) + emission.compute_s
        assert emission.ready_s == pytest.approx(ready_s)


def test_in_real_time_all_audio_is_given_and_late_chunks_together(model: Model) -> None:
    emissions = list(replay_realtime(listener(model), silence(*[0.01] * 40)))
    assert emissions[-1].audio_s == pytest.approx(0.4)
    assert emissions[-1].update.is_last
    assert emissions[-1].update.audio_end_s == pytest.approx(0.4)
    assert all(emission.ready_s >= emission.audio_s for emission in emissions)


def test_no_audio_gives_nothing(model: Model) -> None:
    assert list(replay(listener(model), silence())) == []
    assert list(replay_realtime(listener(model), silence())) == []


def test_a_session_gets_every_chunk_and_the_end() -> None:
    speech = speech_of(random_words(8, 1))
    session = Session(AlignAttConfig(language="en", padding_len=1.0), tone_model(), VoiceConfig(vad=False))
    pieces = np.array_split(speech.samples, 37)
    emissions = list(replay_session(session, iter(pieces)))
    events = [event for emission in emissions for event in emission.events]
    assert "".join(event.text for event in events if isinstance(event, Words)) == speech.text
    assert events[-1] == Ended(emissions[-1].audio_s)
    assert emissions[-1].audio_s == len(speech.samples) / SAMPLE_RATE
    assert any(emission.turns for emission in emissions[:-1])
    assert all(emission.ready_s >= emission.audio_s for emission in emissions)
