"""What is committed is heard, once and in order, whatever the voice does; and captions never wait for it."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, BackendStatus, SpeechConfig, VoiceError, Word
from streaming.events import (
    BackendChanged,
    Cleared,
    Ended,
    Event,
    Failed,
    Flushed,
    Language,
    Reason,
    Recognised,
    SpeechEnded,
    SpeechSkipped,
    Spoken,
    Translation,
    Words,
)
from streaming.sessions.event_log import SOUND_BYTES, EventFilter, EventLog
from streaming.stages import voice_calls
from streaming.stages.metrics import SpeechMetrics
from streaming.stages.speech import SpeechStage
from streaming.stages.stage import run_stage
from tests.speaking import WORD_S, HeldVoice, ToneVoice, ToneVoices, heard_again, sound_of
from tests.streaming.serving import PATIENCE_S, counted
from tests.tones import WORDS, random_words

HEARING_ALL = EventFilter(speech=True)
CONFIG = SpeechConfig()
LONG_WAIT = SpeechConfig(most_behind=1e9)
# What is a word to everybody: the smiley has nothing to be spoken.
SPOKEN_WORDS = [word.strip() for word in WORDS if any(character.isalnum() for character in word)]


class Clock:
    """Goes when it is told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def words_of(text: str, start_s: float = 0.0, language: str | None = "en") -> tuple[Word, ...]:
    return tuple(
        Word(f" {each}", start_s + n / 2, start_s + n / 2 + 0.5, 1.0, language) for n, each in enumerate(text.split())
    )


def said(text: str, start_s: float = 0.0, utterance: int = 1, language: str | None = "en") -> Words:
    words = words_of(text, start_s, language)
    return Words(words, words[-1].end_s, utterance)


def translated(text: str, target: str = "de", start_s: float = 0.0, end_s: float = 1.0, utterance: int = 1) -> Event:
    return Translation(target, words_of(text, start_s, target), start_s, end_s, utterance)


def staged(
    voices: ToneVoices, config: SpeechConfig = CONFIG, targets: Sequence[str] = ("",), **more: Any
) -> SpeechStage:
    """A stage that waits for its voice, on a clock that stands."""
    options: dict[str, Any] = {"clock": Clock(), "waits": True, "timeout_s": PATIENCE_S} | more
    return SpeechStage(voices, config, targets, **options)


def run(stage: SpeechStage, *events: Event) -> list[Event]:
    return [*stage.feed(events), *stage.flush()]


def skips(events: Sequence[Event]) -> list[SpeechSkipped]:
    return [each for each in events if isinstance(each, SpeechSkipped)]


def text_of(events: Sequence[Event], target: str = "") -> str:
    """What is spoken."""
    told = [each for each in events if isinstance(each, Spoken) and each.target == target]
    return " ".join(each.text for each in told if each.text)


def plain(text: str) -> list[str]:
    return [word.strip(".?!") for word in text.split()]


# What is heard


def test_what_is_committed_is_heard_again_sentence_by_sentence() -> None:
    text = "one four five. seven nine red blue? green house"
    told = run(staged(ToneVoices()), *(said(word, n / 2) for n, word in enumerate(text.split())))
    assert heard_again(sound_of(told)) == plain(text)
    assert text_of(told) == text
    spoken = [each for each in told if isinstance(each, Spoken)]
    assert [(each.text, each.source_start_s, each.source_end_s) for each in spoken if each.text] == [
        ("one four five.", 0.0, 1.5),
        ("seven nine red blue?", 1.5, 3.5),
        ("green house", 3.5, 4.5),
    ]
    # The end of each sentence is told once, after its sound.
    assert [each.source_end_s for each in spoken if each.is_last] == [1.5, 3.5, 4.5]
    assert spoken[-1].is_last


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_however_events_are_batched_nothing_is_doubled_and_nothing_lost(data: Any) -> None:
    """Sentences, commas, utterances that end, flushes: all that is said comes back, in order."""
    words = data.draw(st.lists(st.sampled_from(SPOKEN_WORDS), min_size=1, max_size=9, unique=True))
    texts = [word + data.draw(st.sampled_from(["", "", ".", "?"])) for word in words]
    events, utterance = list[Event](), 1
    for i, text in enumerate(texts):
        events.append(said(text, i / 2, utterance))
        end = data.draw(st.sampled_from([None, None, SpeechEnded(i / 2, utterance), Flushed(i / 2)]))
        if end:
            events.append(end)
            utterance += 1
    stage, told, at = staged(ToneVoices(), LONG_WAIT), list[Event](), 0
    while at < len(events):
        size = data.draw(st.integers(1, 4))
        told += stage.feed(events[at : at + size])
        at += size
    told += stage.flush()
    assert heard_again(sound_of(told)) == [text.strip(".?") for text in texts]
    assert text_of(told).split() == texts
    assert not skips(told)


@pytest.mark.parametrize("n", [1, 39, 41, 130])
def test_text_without_any_punctuation_is_spoken_in_pieces(n: int) -> None:
    voice, text = ToneVoice(), " ".join(WORDS[word].strip() for word in random_words(n) if WORDS[word] != " 🙂")
    told = run(staged(ToneVoices(voice), LONG_WAIT), said(text))
    assert voice.said == text_of(told) == text
    assert max(len(text.split()) for text, _, _ in voice.asked) <= 40


def test_a_long_sentence_is_spoken_before_it_is_over() -> None:
    voice = ToneVoice()
    stage = staged(ToneVoices(voice))
    told = stage.feed([said("one four five seven nine naïve,")])
    assert text_of(told) == "one four five seven nine naïve,"
    assert not any(each.is_last for each in told if isinstance(each, Spoken))
    told += [*stage.feed([said("red.", 3.0)]), *stage.flush()]
    assert heard_again(sound_of(told)) == "one four five seven nine naïve, red".split()
    assert [each.is_last for each in told if isinstance(each, Spoken)].count(True) == 1


def test_punctuation_that_comes_late_ends_the_sentence_without_a_sound() -> None:
    stage = staged(ToneVoices())
    stage.feed([said("one four five seven nine naïve,")])
    (end,) = run(stage, Words((Word(".", 3.0, 3.0, 1.0, "en"),), 3.0))
    assert isinstance(end, Spoken)
    assert (end.text, end.pcm, end.is_last) == ("", b"", True)


def test_text_without_anything_to_be_spoken_is_passed_over() -> None:
    voice = ToneVoice()
    assert run(staged(ToneVoices(voice)), said("... 🙂 —"), SpeechEnded(2.0), said("?!" * 4_000, 3.0, 2)) == []
    assert voice.asked == []


def test_a_word_of_a_hundred_thousand_letters_is_spoken_in_pieces() -> None:
    class Silent(ToneVoice):
        def speak(self, text: str, language: str, speed: float = 1.0) -> Any:
            self.asked.append((text, language, speed))
            yield np.zeros(160, np.float32)

    voice = Silent()
    run(staged(ToneVoices(voice), LONG_WAIT), said("a" * 100_000))
    assert voice.said.replace(" ", "") == "a" * 100_000
    assert max(len(text) for text, _, _ in voice.asked) <= 800


def test_each_target_is_spoken_in_its_language_and_none_that_was_not_chosen() -> None:
    voice = ToneVoice()
    events = [said("one."), translated("four."), translated("five.", "fr"), translated("red.", "es")]
    told = run(staged(ToneVoices(voice, ("en", "de", "fr")), targets=("", "de", "fr")), *events)
    assert {(target, text_of(told, target)) for target in ("", "de", "fr", "es")} == {
        ("", "one."),
        ("de", "four."),
        ("fr", "five."),
        ("es", ""),
    }
    assert sorted(voice.asked) == [("five.", "fr", 1.0), ("four.", "de", 1.0), ("one.", "en", 1.0)]


def test_words_without_a_language_are_in_that_of_the_session() -> None:
    voice = ToneVoice()
    run(staged(ToneVoices(voice)), Language("de"), said("one.", language=None))
    assert voice.asked == [("one.", "de", 1.0)]


def test_targets_are_chosen_while_the_session_goes_on() -> None:
    stage = staged(ToneVoices(languages=("en", "de", "fr")), targets=("de",))
    told = stage.feed([said("one."), translated("four five?")])
    stage.choose(("", "fr"))
    told += [*stage.feed([said("red.", 1.0), translated("blue."), translated("green.", "fr")]), *stage.flush()]
    assert [text_of(told, target) for target in ("", "de", "fr")] == ["red.", "four five?", "green."]


def test_a_translation_whose_sentence_does_not_end_is_spoken_once_nothing_more_comes() -> None:
    clock = Clock()
    stage = staged(ToneVoices(), targets=("de",), clock=clock)
    told = stage.feed([translated("one four"), SpeechEnded(1.0)])
    clock.now_s = 0.9
    assert (told, stage.feed([])) == ([], [])
    clock.now_s = 1.1
    assert text_of(stage.feed([]), "de") == "one four"


# The pace


def test_speech_that_is_late_is_quicker_and_has_no_pauses_but_is_bounded() -> None:
    voice, config = ToneVoice(), SpeechConfig(speed=0.8, most_speed=1.25, most_behind=1000, pause=1.0)
    told = run(staged(ToneVoices(voice), config), *(said("one four five seven nine.", n * 2.5) for n in range(12)))
    assert {speed for _, _, speed in voice.asked} == {1.0}
    assert len(sound_of(told)) / SAMPLE_RATE == pytest.approx(60 * WORD_S)


def test_speech_that_is_in_time_is_unhurried_and_silence_that_was_heard_is_no_pause() -> None:
    voice, clock = ToneVoice(), Clock()
    stage = staged(ToneVoices(voice), SpeechConfig(pause=0.5), clock=clock)
    durations = []
    for now_s in (0.0, 3 * WORD_S, 6 * WORD_S + 0.5, 20.0):
        clock.now_s = now_s
        told = stage.feed([said("one four five.", now_s)])
        durations.append(len(sound_of(told)) / SAMPLE_RATE - 3 * WORD_S)
    assert [speed for _, _, speed in voice.asked] == [1.0] * 4
    # The second comes as the first was heard; the third half a second after the second, of which half was a pause.
    assert durations == pytest.approx([0.0, 0.5, 0.5, 0.0], abs=0.01)


def test_little_is_told_ahead_of_what_is_heard() -> None:
    clock = Clock()
    stage = staged(ToneVoices(), SpeechConfig(pause=0, most_speed=1), clock=clock)
    told = stage.feed([said("one four five seven.", n * 2) for n in range(8)])
    ahead = [len(sound_of(told)) / SAMPLE_RATE]
    for now_s in (1.0, 4.0, 6.0):
        clock.now_s = now_s
        told += stage.feed([])
        ahead.append(len(sound_of(told)) / SAMPLE_RATE - now_s)
    assert all(5.0 <= each <= 5.0 + 4 * WORD_S for each in ahead)
    assert stage.n_waiting()[""] == 8 - text_of(told).count(".")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_sentence_is_heard_or_told_to_be_left_out_and_the_oldest_go_first(data: Any) -> None:
    clock, told = Clock(), list[Event]()
    config = SpeechConfig(most_behind=data.draw(st.sampled_from([1.0, 5.0, 12.0])))
    stage = staged(ToneVoices(), config, clock=clock)
    sentences, plain_words = list[tuple[float, str]](), [word for word in SPOKEN_WORDS if word.isalpha()]
    for n in range(data.draw(st.integers(1, 25))):
        words = [plain_words[(n + i) % len(plain_words)] for i in range(data.draw(st.integers(1, 5)))]
        sentences.append((n * 2.0, " ".join(words) + "."))
        clock.now_s += data.draw(st.sampled_from([0.0, 0.1, 1.0, 10.0]))
        told += stage.feed([said(sentences[-1][1], n * 2.0)])
        assert stage.behind_s()[""] <= config.most_behind + 10
    told += stage.flush()
    kept = [(each.source_start_s, each.text) for each in told if isinstance(each, Spoken) and each.text]
    left_out = [(each.from_s, each.text) for each in skips(told)]
    assert sorted(kept + left_out) == sentences
    assert (kept, left_out) == (sorted(kept), sorted(left_out))
    assert all(each.why == f"speech is more than {config.most_behind:g} s behind" for each in skips(told))
    # The newest is always spoken.
    assert kept[-1] == sentences[-1]


def test_a_sentence_is_left_out_whole() -> None:
    voices, clock = ToneVoices(), Clock()
    stage = staged(voices, SpeechConfig(most_behind=6, most_speed=1), clock=clock)
    told = stage.feed([said("one four five seven nine red blue green house water.")])
    # Its first half waits; then it is left out for the sentence after it.
    told += stage.feed([said("river stone light garden window naïve,", 5.0)])
    told += stage.feed([said("paper. music bird one four five seven nine red blue green.", 8.0)])
    told += stage.flush()
    assert [each.text for each in skips(told)] == ["river stone light garden window naïve, paper."]
    assert text_of(told).endswith("music bird one four five seven nine red blue green.")


# What voices do wrong


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


# Clear


def test_a_clear_stops_at_once_and_what_follows_is_spoken() -> None:
    voice, clock = HeldVoice(), Clock()
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


# A session


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
    clock, log, sound_s = Clock(), EventLog(), 0.0
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
