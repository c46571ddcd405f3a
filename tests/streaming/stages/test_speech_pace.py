"""Speech that is late is hurried and at last left out; what is in time is not."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, SpeechConfig
from streaming.events import Event, Spoken
from tests.speaking import WORD_S, ToneVoice, ToneVoices, sound_of
from tests.streaming.stages.speech_stage import SPOKEN_WORDS, run, said, skips, staged, text_of
from tests.streaming.working import HandClock


def test_speech_that_is_late_is_quicker_and_has_no_pauses_but_is_bounded() -> None:
    voice, config = ToneVoice(), SpeechConfig(speed=0.8, most_speed=1.25, most_behind=1000, pause=1.0)
    told = run(staged(ToneVoices(voice), config), *(said("one four five seven nine.", n * 2.5) for n in range(12)))
    assert {speed for _, _, speed in voice.asked} == {1.0}
    assert len(sound_of(told)) / SAMPLE_RATE == pytest.approx(60 * WORD_S)


def test_speech_that_is_in_time_is_unhurried_and_silence_that_was_heard_is_no_pause() -> None:
    voice, clock = ToneVoice(), HandClock()
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
    clock = HandClock()
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
    clock, told = HandClock(), list[Event]()
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
    voices, clock = ToneVoices(), HandClock()
    stage = staged(voices, SpeechConfig(most_behind=6, most_speed=1), clock=clock)
    told = stage.feed([said("one four five seven nine red blue green house water.")])
    # Its first half waits; then it is left out for the sentence after it.
    told += stage.feed([said("river stone light garden window naïve,", 5.0)])
    told += stage.feed([said("paper. music bird one four five seven nine red blue green.", 8.0)])
    told += stage.flush()
    assert [each.text for each in skips(told)] == ["river stone light garden window naïve, paper."]
    assert text_of(told).endswith("music bird one four five seven nine red blue green.")
