"""A session that tells the transcript and its English translation, from the start or chosen later."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from simul_whisper import AlignAttConfig
from streaming.events import Event, Reason, Recognised, Translation, TranslationDraft, Words
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig
from tests.listener import every
from tests.streaming.serving import PATIENCE_S
from tests.streaming.working import collected, made, running
from tests.tones import WORDS, english, in_english, random_words, speech_of, tone_model

GERMAN = tone_model("de")
# No token is sure before a second pass has read it, so that there are drafts.
CONFIG = AlignAttConfig(language="de", padding_len=1.0, hold_probability=1.0, hold_len=12.0)
OFF = VoiceConfig(vad=False)
SPEECH = speech_of(random_words(20, 1))
IN_ENGLISH = "".join(WORDS[in_english(word)] for word in SPEECH.words)


def text_of(kind: type[Words] | type[Translation], events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


@pytest.mark.parametrize("drafts", [True, False])
def test_two_texts_are_told_apart(drafts: bool) -> None:
    session = Session(replace(CONFIG, targets=["en"]), GERMAN, OFF, drafts=drafts)
    events = [event for piece in every(0.7, SPEECH.samples) for event in session.feed(piece)] + session.end()
    assert text_of(Words, events) == SPEECH.text
    assert text_of(Translation, events) == IN_ENGLISH
    translations = [event for event in events if isinstance(event, Translation)]
    assert {(each.target, each.utterance) for each in translations} == {("en", 1)}
    assert all(each.source_start_s == each.words[0].start_s < each.source_end_s for each in translations)
    drafted = [event for event in events if isinstance(event, TranslationDraft)]
    assert bool(drafted) == drafts
    assert not drafts or not drafted[-1].words


def test_a_draft_that_is_given_up_is_emptied() -> None:
    session = Session(replace(CONFIG, targets=["en"]), GERMAN, OFF)
    pieces = iter(every(0.5, SPEECH.samples))
    while not any(isinstance(event, TranslationDraft) and event.words for event in session.feed(next(pieces))):
        pass
    session.clear()
    events = session.end()
    assert [event for event in events if isinstance(event, TranslationDraft)] == [TranslationDraft("en", ())]


def test_the_last_word_of_a_translation_is_told_when_the_rest_is_given_up() -> None:
    """With the utterance that it is of, whether anything follows or not."""
    # Their translations have several tokens each, of which the first are committed.
    speech = speech_of([3, 2, 1, 0, 3, 1, 2, 0])
    config = replace(CONFIG, targets=["en"], hold_probability=0.0, last_word="keep", frame_threshold=8)
    n_open = 0
    for n in range(4, 9):
        session = Session(config, GERMAN, OFF)
        before = [event for piece in every(0.3, speech.samples)[:n] for event in session.feed(piece)]
        session.clear()
        given_up = session.step().events
        n_open += any(isinstance(event, Translation) for event in given_up)
        after = [*session.feed(speech.samples), *session.end()]
        assert english(speech).text.startswith(text_of(Translation, [*before, *given_up]))
        assert text_of(Translation, after) == english(speech).text
        assert {event.utterance for event in after if isinstance(event, Translation)} == {2}
    assert n_open


def test_a_target_chosen_later_holds_from_the_next_pass_on() -> None:
    first, second = np.array_split(SPEECH.samples, 2)
    with running(made(GERMAN)) as worker:
        handle = worker.open(CONFIG, OFF)
        cursor, before = handle.log.cursor(), list[Event]()
        handle.submit(first)
        handle.flush()
        while not any(isinstance(event, Words) for event in before):
            before += cursor.read(PATIENCE_S)
        handle.choose_targets(["en"])
        handle.submit(second)
        handle.end()
        events = [*before, *collected(handle, cursor)]
    assert isinstance(events[-2], Recognised)
    assert text_of(Words, events) == SPEECH.text
    translated = text_of(Translation, events)
    assert translated
    assert IN_ENGLISH.endswith(translated)


def test_what_whisper_cannot_translate_into_ends_the_session() -> None:
    """Who opens sessions keeps that from it."""
    with running(made(GERMAN)) as worker:
        handle = worker.open(replace(CONFIG, targets=["es"]), OFF)
        handle.submit(SPEECH.samples)
        failed = collected(handle)[-1]
    assert getattr(failed, "reason", None) is Reason.CONFIG
