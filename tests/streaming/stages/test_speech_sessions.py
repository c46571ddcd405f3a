"""The speech of a whole session: what is cleared, who gets the sound, how much is kept and what is counted."""

import threading
from collections.abc import Sequence

import pytest

from simul_whisper import VoiceError
from streaming.events import Cleared, Ended, Event, Failed, Reason, Recognised, Spoken, Words
from streaming.sessions.event_log import SOUND_BYTES, EventLog
from streaming.stages import voice_calls
from streaming.stages.metrics import SpeechMetrics
from streaming.stages.stage import run_stage
from tests.speaking import WORD_S, HeldVoice, ToneVoice, ToneVoices, heard_again, sound_of
from tests.streaming.serving import PATIENCE_S, counted
from tests.streaming.stages.speech_stage import CONFIG, HEARING_ALL, run, said, skips, staged, text_of
from tests.streaming.working import HandClock


def test_a_clear_stops_at_once_and_what_follows_is_spoken() -> None:
    voice, clock = HeldVoice(), HandClock()
    stage = staged(ToneVoices(voice), clock=clock, waits=False)
    assert stage.feed([said("one four."), said("five.", 1.0)]) == []
    assert voice.is_asked.wait(PATIENCE_S)
    assert stage.feed([Cleared(2.0)]) == []
    voice.may_speak.set()
    told = run(stage, said("red.", 2.0))
    assert (text_of(told), heard_again(sound_of(told))) == ("red.", ["red"])
    assert not skips(told)


def test_after_a_clear_nothing_is_late() -> None:
    voice = ToneVoice()
    stage = staged(ToneVoices(voice))
    stage.feed([said("one four five seven nine red.", n * 3.0) for n in range(4)])
    assert stage.behind_s()[""] > 5
    stage.feed([Cleared(12.0)])
    assert stage.behind_s() == {"": 0.0}
    stage.feed([said("one.", 13.0)])
    assert voice.asked[-1] == ("one.", "en", 1.0)


def test_a_session_is_over_when_all_is_told_and_only_those_who_ask_get_sound() -> None:
    log = EventLog()
    log.add_writer()
    thread = run_stage(log, staged(ToneVoices(), waits=False, clock=threading.TIMEOUT_MAX.__float__))
    log.append([said("one four five."), said("seven nine", 2.0), Recognised(3.0)])
    log.finish()
    thread.join(PATIENCE_S)
    captions, everything = log.cursor().read(), log.cursor(HEARING_ALL).read()
    assert not any(isinstance(each, Spoken) for each in captions)
    assert heard_again(sound_of(everything)) == "one four five seven nine".split()
    assert everything[-1] == captions[-1] == Ended(3.0)


def test_sound_of_before_a_clear_is_not_told_behind_it() -> None:
    """The clear comes while the stage, which has not read it, tells what it made before."""
    log = EventLog()
    log.add_writer()

    has_cleared = threading.Event()

    class Late:
        woken = threading.Event()

        def feed(self, events: Sequence[Event]) -> list[Event]:
            if not any(isinstance(each, Words) for each in events):
                return []
            log.append([Cleared(1.0)])
            has_cleared.set()
            return [Spoken("", "one", b"12", 16_000, 0.0, 0.5)]

        def flush(self) -> list[Event]:
            return [Spoken("", "red", b"34", 16_000, 2.0, 2.5)]

    thread = run_stage(log, Late())
    log.append([said("one")])
    assert has_cleared.wait(PATIENCE_S)
    log.append([Recognised(3.0)])
    log.finish()
    thread.join(PATIENCE_S)
    events = log.cursor(HEARING_ALL).read()
    cleared = next(n for n, each in enumerate(events) if isinstance(each, Cleared))
    assert [each.text for each in events[cleared:] if isinstance(each, Spoken)] == ["red"]


def test_the_voice_of_a_session_that_fails_is_asked_for_no_more() -> None:
    voice, log = HeldVoice(), EventLog()
    log.add_writer()
    thread = run_stage(log, staged(ToneVoices(voice), waits=False))
    log.append([said("one four five seven nine.")])
    assert voice.is_asked.wait(PATIENCE_S)
    (call,) = [each for each in voice_calls._running if each._voices.voice("en") is voice]
    log.append([Failed(Reason.ENGINE, "the model is gone")])
    thread.join(PATIENCE_S)
    assert call._is_given_up
    voice.may_speak.set()


def test_of_a_long_talk_nothing_is_held_but_the_newest_half_minute() -> None:
    """Nobody reads it, and a client that is away holds all that it can."""
    clock, log, sound_s = HandClock(), EventLog(), 0.0
    log.cursor(HEARING_ALL, holds=True)
    stage = staged(ToneVoices(), clock=clock)
    for n in range(300):
        clock.now_s += 2.0
        told = stage.feed([said("one four five seven nine.", n * 2.0)])
        sound_s += sum(each.duration_s for each in told if isinstance(each, Spoken))
        log.append(told)
        assert stage.behind_s()[""] <= CONFIG.most_behind + 5
    kept = [each for each in log.cursor(HEARING_ALL).read() if isinstance(each, Spoken)]
    assert sound_s > 500
    assert sum(len(each.pcm) for each in kept) <= SOUND_BYTES


def test_what_is_spoken_is_counted() -> None:
    metrics, voice = SpeechMetrics(), HeldVoice(error=VoiceError("no"), n_before_error=1)
    voice.may_speak.set()
    stage = staged(ToneVoices(voice), metrics=metrics)
    stage.feed([said("one four five.")])
    voice.error = None
    told = run(stage, said("red. blue"))
    counts = counted(metrics.read())
    assert counts["speech_sentences_total"] == 2
    assert counts["speech_skipped_sentences_total"] == counts["speech_failures_total"] == 1
    assert counts["speech_first_sound_seconds_count"] == counts["speech_delay_seconds_count"] == 3
    assert counts["speech_sound_seconds_total"] == pytest.approx((len(sound_of(told)) + 2 * WORD_S * 16_000) / 16_000)
    assert counts["speech_sentences_waiting"] == 0
