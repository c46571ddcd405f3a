"""What is committed is heard, once and in order, however it is told."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper import SpeechConfig, Word
from streaming.events import Event, Flushed, Language, SpeechEnded, Spoken, Words
from tests.speaking import ToneVoice, ToneVoices, heard_again, sound_of
from tests.streaming.stages.speech_stage import SPOKEN_WORDS, run, said, skips, staged, text_of, translated
from tests.tones import WORDS, random_words

LONG_WAIT = SpeechConfig(most_behind=1e9)


def plain(text: str) -> list[str]:
    return [word.strip(".?!") for word in text.split()]


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


def test_a_translation_whose_sentence_does_not_end_is_spoken_at_once_when_the_utterance_is_over() -> None:
    stage = staged(ToneVoices(), targets=("de",))
    assert stage.feed([translated("one four")]) == []
    assert text_of(stage.feed([SpeechEnded(1.0)]), "de") == "one four"


def test_what_a_translator_finishes_after_the_utterance_waits_for_nothing_either() -> None:
    stage = staged(ToneVoices(), targets=("de",))
    assert stage.feed([said("one four"), SpeechEnded(1.0)]) == []
    assert text_of(stage.feed([translated("four five")]), "de") == "four five"
