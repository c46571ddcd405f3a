"""How soon words could have been told, from readings made by hand and over tones."""

import numpy as np
import pytest

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Word
from streaming.audio.files import chunked
from streaming.evaluation.foresight import Reading, earliest, foreseen
from streaming.evaluation.replay import replay
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig
from tests.listener import MODEL
from tests.tones import random_words, speech_of

CONFIG = AlignAttConfig(language="en", segment_length=1.0)


def reading(audio_s: float, *texts: str, language: str = "en") -> Reading:
    """Every word lasts 0.4 s."""
    return Reading(audio_s, tuple(Word(text, n * 0.4, (n + 1) * 0.4, 1.0, language) for n, text in enumerate(texts)))


def earliest_s(*readings: Reading) -> list[float]:
    return [word.earliest_s for word in earliest(readings)]


def test_a_word_could_be_told_once_it_and_all_before_it_are_read_as_at_the_end() -> None:
    last = (" The", " tide", " turns.")
    assert earliest_s(reading(1, " The"), reading(2, " The", " tide"), reading(3, *last)) == [1, 2, 3]
    assert earliest_s(reading(1, *last), reading(2), reading(3, *last)) == [1, 1, 1]
    assert earliest_s(reading(1, " A", " tide"), reading(2, " The", " tide"), reading(3, *last)) == [2, 2, 3]


def test_case_and_punctuation_decide_nothing() -> None:
    assert earliest_s(reading(1, " the", " tide", "."), reading(2, " The", " tide,", " turns")) == [1, 1, 2]
    assert earliest_s(reading(1, " The"), reading(2, " The", "!"), reading(3, " The", "!", " Tide")) == [1, 1, 3]


def test_vowels_that_are_marks_count_and_characters_are_compared_one_by_one() -> None:
    assert earliest_s(reading(1, " की"), reading(2, " का")) == [2]
    assert earliest_s(reading(1, "我", "们", language="zh"), reading(2, "我们", "好", language="zh")) == [1, 2]


def test_a_chunk_is_waited_for_until_the_word_has_ended() -> None:
    words = [*earliest([reading(0.5), reading(1.0), reading(1.1, " The", " tide", " turns")])]
    assert [word.end_s for word in words] == pytest.approx([0.4, 0.8, 1.1])
    assert [word.chunk_s for word in words] == [0.5, 1.0, 1.1]


def test_nothing_is_foreseen_in_silence_or_where_no_window_holds_it_all() -> None:
    assert [*earliest([reading(1, " oh"), reading(2)])] == []
    assert foreseen(np.zeros(2 * SAMPLE_RATE, np.float32), MODEL, CONFIG) == ()
    assert foreseen(np.zeros(31 * SAMPLE_RATE, np.float32), MODEL, CONFIG) is None


def test_a_listener_is_told_no_word_before_it_could_be_told() -> None:
    speech = speech_of(random_words(30, 3))
    words = foreseen(speech.samples, MODEL, CONFIG)
    assert words is not None
    assert "".join(word.text for word in words) == speech.text
    session = Session(CONFIG, MODEL, VoiceConfig(vad=False))
    told_s = [each.audio_s for each in replay(session, chunked([speech.samples], SAMPLE_RATE)) for _ in each.words]
    assert all(word.earliest_s <= at_s for word, at_s in zip(words, told_s, strict=True))
    assert all(word.earliest_s <= word.chunk_s for word in words)
    assert words[0].earliest_s < words[-1].earliest_s
