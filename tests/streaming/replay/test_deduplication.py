"""What is heard again over a new connection: words that were told are passed over, and times go on."""

from dataclasses import replace

import pytest

from simul_whisper import Word
from streaming.client import RECOVERY
from streaming.events import Draft, Ended, SpeechEnded, Translation, TranslationDraft, TranslationSkipped, Words
from streaming.replay.deduplication import Deduplicator
from tests.streaming.told import draft


def word(text: str, start_s: float) -> Word:
    return Word(text, start_s, start_s + 0.4, 1.0)


def test_words_that_were_told_are_passed_over_and_times_go_on() -> None:
    memory = Deduplicator()
    memory.told(Words((word(" a", 10.0), word(" b", 10.5)), 12.0))
    memory.told(SpeechEnded(11.0))
    memory.told(Words((word(" c", 12.0),), 13.0))
    assert memory.needed_from_s(20.0) == 11.0
    memory.start_anew(11.0)
    assert memory.told(Words((word(" c", 1.02),), 2.0)) is None
    told = memory.told(Words((word(" c", 0.98), word(" d", 1.5)), 3.0))
    assert told == Words((word(" d", 12.5),), 14.0)
    assert memory.told(Ended(5.0)) == Ended(16.0)


def test_words_heard_a_third_time_are_told_once_all_the_same() -> None:
    memory = Deduplicator()
    memory.told(Words((word(" a", 10.0), word(" b", 14.0)), 15.0))
    for _ in range(2):
        memory.start_anew(5.0)
        assert memory.told(draft(" a b")) is None
        assert memory.told(Words((word(" a", 5.0),), 6.0)) is None
        # The server is gone again before it comes to the second word.
        memory.told(SpeechEnded(6.0))
    assert memory.told(Words((word(" b", 9.0), word(" c", 10.0)), 11.0)) == Words((word(" c", 15.0),), 16.0)
    told = memory.told(draft(" d"))
    assert isinstance(told, Draft)
    # Its times are those of the stream, too.
    assert [(each.text, each.start_s) for each in told.words] == [(" d", 6.0)]


def test_a_last_word_that_is_heard_later_than_before_is_not_told_twice() -> None:
    memory = Deduplicator()
    memory.told(Words((word(" and", 9.5), word(" kept", 10.0)), 11.0))
    memory.start_anew(0.0)
    again = (word(" and", 9.6), word(" Kept,", 10.3), word(" kept", 10.9), word(" only", 11.5))
    assert memory.told(Words(again, 12.0)) == Words(again[2:], 12.0)


def test_punctuation_that_follows_a_known_word_is_passed_over() -> None:
    memory = Deduplicator()
    memory.told(Words((word(" and", 9.5), word(" kept", 10.0), word(".", 10.5)), 11.0))
    memory.start_anew(0.0)
    again = (word(" kept", 10.3), word(".", 11.0), word(" Only", 11.5), word(",", 12.0))
    assert memory.told(Words(again[:2], 12.0)) is None
    assert memory.told(Words(again[1:], 12.0)) == Words(again[2:], 12.0)


def test_punctuation_that_was_not_told_after_a_known_word_is_told() -> None:
    memory = Deduplicator()
    memory.told(Words((word(" and", 9.5), word(" kept", 10.0)), 11.0))
    memory.start_anew(0.0)
    again = (word(" kept", 10.0), word(".", 10.5), word(" Only", 11.5))
    assert memory.told(Words(again, 12.0)) == Words(again[1:], 12.0)


def test_a_word_that_is_said_twice_is_told_twice() -> None:
    memory = Deduplicator()
    memory.told(Words((word(" had", 10.0),), 11.0))
    memory.start_anew(0.0)
    assert memory.told(Words((word(" had", 9.9),), 11.0)) is None
    assert memory.told(Words((word(" had", 10.4),), 11.0)) == Words((word(" had", 10.4),), 11.0)


def test_memory_is_bounded_also_when_nobody_speaks() -> None:
    memory = Deduplicator()
    assert memory.needed_from_s(3600.0) == 3600 - RECOVERY.after_receipt_s
    memory.told(Words((word(" a", 3590.0),), 3600.0))
    assert memory.needed_from_s(3600.0) == pytest.approx(3590.4 - RECOVERY.before_word_s)


def into(target: str, *words: Word) -> Translation:
    return Translation(target, words, words[0].start_s, words[-1].end_s)


def test_translations_that_were_told_are_passed_over_each_by_itself() -> None:
    memory = Deduplicator()
    memory.choose(["de", "es"])
    memory.told(Words((word(" a", 10.0), word(" b", 10.5)), 12.0))
    memory.told(into("de", word(" A", 10.0), word(" B", 10.5)))
    memory.told(into("es", word(" A", 10.0)))
    memory.told(SpeechEnded(11.0))
    # The silence is not enough: one of them has not been told up to there.
    assert memory.needed_from_s(20.0) == 10.4
    memory.start_anew(8.0)
    assert memory.told(TranslationDraft("es", (word(" A", 2.0),))) is None
    assert memory.told(into("es", word(" A", 2.0), word(" B", 2.5))) == replace(
        into("es", word(" A", 10.0), word(" B", 10.5)), words=(word(" B", 10.5),)
    )
    assert memory.told(TranslationDraft("es", (word(" C", 4.0),))) == TranslationDraft("es", (word(" C", 12.0),))
    assert memory.told(into("de", word(" A", 2.0), word(" B", 2.5))) is None
    assert memory.told(TranslationDraft("de", (word(" C", 4.0),))) is None
    assert memory.told(into("de", word(" C", 4.0))) == into("de", word(" C", 12.0))
    assert memory.needed_from_s(20.0) == 10.9


def test_nothing_is_waited_for_that_was_skipped_or_is_not_chosen_any_more() -> None:
    memory = Deduplicator()
    memory.choose(["de", "es"])
    memory.told(Words((word(" a", 10.0),), 12.0))
    memory.told(SpeechEnded(11.0))
    memory.told(into("de", word(" A", 10.0)))
    assert memory.needed_from_s(20.0) == 0.0
    skipped = TranslationSkipped("es", 9.0, 11.0, "too slow")
    assert memory.told(skipped) == skipped
    assert memory.needed_from_s(20.0) == 10.4
    memory.choose(["es"])
    assert memory.needed_from_s(20.0) == 11.0
    memory.start_anew(8.0)
    assert memory.told(replace(skipped, from_s=1.0, to_s=3.0)) is None
    assert memory.told(replace(skipped, from_s=1.0, to_s=5.0)) == replace(skipped, from_s=11.0, to_s=13.0)


def test_what_was_said_before_a_target_was_chosen_is_not_translated_when_it_is_heard_again() -> None:
    memory = Deduplicator()
    memory.told(Words((word(" a", 10.0),), 12.0))
    memory.choose(["de"])
    memory.start_anew(8.0)
    assert memory.told(into("de", word(" A", 2.0))) is None
    assert memory.told(into("de", word(" B", 4.0))) == into("de", word(" B", 12.0))
