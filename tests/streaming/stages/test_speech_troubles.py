"""Captions never wait for a voice, and what it gets wrong costs little and is told."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendStatus, VoiceError
from streaming.events import BackendChanged, Ended, Recognised, Spoken, Words
from streaming.sessions.event_log import EventLog
from streaming.stages import voice_calls
from streaming.stages.stage import run_stage
from tests.speaking import HeldVoice, ToneVoice, ToneVoices, heard_again, sound_of
from tests.streaming.serving import PATIENCE_S
from tests.streaming.stages.speech_stage import HEARING_ALL, run, said, skips, staged, text_of, translated


def test_a_voice_that_hangs_holds_nothing_up_and_is_given_up() -> None:
    voice, log = HeldVoice(), EventLog()
    log.add_writer()
    thread = run_stage(log, staged(ToneVoices(voice), waits=False, timeout_s=0.2))
    log.append([said("one four."), said("five.", 1.0)])
    assert voice.is_asked.wait(PATIENCE_S)
    log.append([said("red.", 2.0), Recognised(3.0)])
    log.finish()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    events = log.cursor(HEARING_ALL).read()
    assert "".join(each.text for each in events if isinstance(each, Words)) == " one four. five. red."
    assert [each.text for each in skips(events)] == ["one four.", "five.", "red."]
    assert "silent for 0.2 s" in skips(events)[0].why
    assert events[-1] == Ended(3.0)
    voice.may_speak.set()


def test_a_voice_that_fails_in_the_middle_costs_that_phrase_alone() -> None:
    voice = HeldVoice(error=VoiceError("it is hoarse"), n_before_error=1)
    voice.may_speak.set()
    stage = staged(ToneVoices(voice))
    told = stage.feed([said("one four five.")])
    voice.error = None
    told += [*stage.feed([said("seven nine.", 2.0)]), *stage.flush()]
    assert [(each.text, each.why) for each in skips(told)] == [("one four five.", "it is hoarse")]
    assert heard_again(sound_of(told)) == ["one", "four", "seven", "nine"]


def test_a_sentence_whose_last_phrase_fails_has_an_end_all_the_same() -> None:
    """Who plays it holds back some of its sound until then."""
    voice = HeldVoice()
    voice.may_speak.set()
    stage = staged(ToneVoices(voice))
    told = stage.feed([said("one four five seven nine naïve,")])
    voice.error = VoiceError("it is hoarse")
    told += run(stage, said("blue.", 3.0), said("green.", 3.5))
    sounds = [(each.text, each.is_last) for each in told if isinstance(each, Spoken) and (each.text or each.is_last)]
    assert sounds == [("one four five seven nine naïve,", False), ("", True)]
    assert [each.text for each in skips(told)] == ["blue.", "green."]


def test_a_change_of_the_vocoder_is_told_to_every_session_that_has_heard_the_one_before() -> None:
    class Changing(ToneVoices):
        now = BackendStatus("coreml")

        def status(self, language: str) -> BackendStatus:  # noqa: ARG002
            return self.now

    class Failing(HeldVoice):
        def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
            yield from super().speak(text, language, speed)
            if text == "red.":
                voices.now = BackendStatus("mlx", did_fallback=True, reason="it failed")

    voice = Failing()
    voice.may_speak.set()
    voices = Changing(voice)
    first, second, third = staged(voices), staged(voices), staged(voices)
    assert not [each for each in second.feed([said("one.")]) if isinstance(each, BackendChanged)]
    for stage, n_changes in ((first, 1), (second, 1), (third, 0)):
        told = [*stage.feed([said("red.", 1.0)]), *run(stage, said("five.", 2.0))]
        changes = [each for each in told if isinstance(each, BackendChanged)]
        assert changes == [BackendChanged("coreml", "mlx", "it failed", "vocoder")] * n_changes


def test_what_no_voice_should_raise_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    voice = HeldVoice(error=RuntimeError("two\nlines " + "x" * 1000))
    voice.may_speak.set()
    (skip,) = skips(run(staged(ToneVoices(voice)), said("one.")))
    assert skip.why.startswith("RuntimeError: two lines xxx")
    assert len(skip.why) == 300
    assert "a voice has failed" in caplog.text


def test_a_language_without_a_voice_is_told_once_and_others_are_spoken() -> None:
    voice = ToneVoice()
    stage = staged(ToneVoices(voice, ("en", "de")), targets=("", "es"))
    told = stage.feed([translated("one.", "es"), said("four."), translated("red.", "es", 1.0)])
    told += run(stage, translated("blue. green", "es", 2.0), said("five.", 3.0))
    assert [(each.target, each.text) for each in skips(told)] == [("es", "one.")]
    assert skips(told)[0].why == (
        "no voice speaks Spanish here, only English, German; see `simul-whisper voices`, or give the .onnx file of a "
        "voice; nothing in es after it is spoken either"
    )
    assert text_of(told) == "four. five."


def test_sound_that_is_wrong_is_clipped_or_silent() -> None:
    class Odd(ToneVoice):
        def speak(self, text: str, language: str, speed: float = 1.0) -> Any:  # noqa: ARG002
            yield np.array([2.0, -2.0, np.nan, np.inf, 0.5], np.float32)

    assert sound_of(run(staged(ToneVoices(Odd())), said("one."))) == pytest.approx([1, -1, 0, 1, 0.5], abs=1e-4)


def test_a_voice_without_an_end_is_stopped() -> None:
    class Endless(ToneVoice):
        def speak(self, text: str, language: str, speed: float = 1.0) -> Any:  # noqa: ARG002
            while True:
                yield np.zeros(SAMPLE_RATE * 30, np.float32)

    told = run(staged(ToneVoices(Endless())), said("one."))
    assert len(sound_of(told)) <= 120 * SAMPLE_RATE
    assert "does not come to an end" in skips(told)[0].why


def test_without_a_thread_a_phrase_is_left_out_and_the_next_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = staged(ToneVoices())
    with monkeypatch.context() as full:

        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        full.setattr(threading.Thread, "start", start)
        told = stage.feed([said("one.")])
    told += run(stage, said("four.", 1.0))
    assert [(each.text, each.why) for each in skips(told)] == [("one.", "RuntimeError: can't start new thread")]
    assert text_of(told) == "four."


def test_so_many_voices_that_hang_get_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_calls, "_MOST_UNANSWERED", 2)
    held = HeldVoice()
    stages = [staged(ToneVoices(held), timeout_s=0.05) for _ in range(2)]
    for stage in stages:
        stage.feed([said("one.")])
    voice = ToneVoice()
    (skip,) = skips(run(staged(ToneVoices(voice)), said("four.")))
    assert (skip.text, voice.asked) == ("four.", [])
    held.may_speak.set()
