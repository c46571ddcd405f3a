"""Whatever the translator does, the transcript never waits for it, and what is missing is told."""

import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest

from simul_whisper import TranslationConfig, TranslationError
from streaming.events import Ended, Event, Recognised, Translation, TranslationSkipped, Words
from streaming.sessions.event_log import EventLog
from streaming.stages import calls
from streaming.stages.stage import run_stage
from tests.streaming.serving import PATIENCE_S
from tests.streaming.stages.translation_stage import (
    CONFIG,
    IMPATIENT,
    heard,
    rest,
    session,
    skips,
    spoken,
    staged,
    translated,
    until,
)
from tests.translating import Backwards, Held, text_of, translation_of


def test_a_translator_that_never_answers_holds_nothing_up() -> None:
    translator = Held()
    with session(staged(translator, IMPATIENT)) as log:
        log.append([spoken("One two.")])
        first = until(log, TranslationSkipped)
        log.append([spoken("Three four. Five", 1.0)])
        events = rest(log)
    translator.may_answer.set()
    assert "".join(each.text for each in events if isinstance(each, Words)) == " One two. Three four. Five"
    why = "the translator has not answered for 0.3 s"
    # Told once, and at the end what else is missing.
    assert skips(events) == [first, TranslationSkipped("de", 1.0, 2.5, why)]
    assert first == TranslationSkipped("de", 0.0, 1.0, why)
    assert translated(events) == ""


def test_no_event_is_missed_while_a_translator_hangs() -> None:
    """The log forgets what is not read in time; copied words show how far the stage has read."""
    translator, log = Held(), EventLog(capacity=20, history=10)
    log.add_writer()
    thread, cursor, told = run_stage(log, staged(translator, targets=("de", "es"))), log.cursor(), list[Event]()
    for n in range(200):
        log.append([spoken("Hola.", float(n), "es")])
        while len([each for each in told if isinstance(each, Translation)]) <= n:
            new = cursor.read(PATIENCE_S)
            assert new
            told += new
    assert translator.is_asked.is_set()
    assert translator.asked == []
    translator.may_answer.set()
    log.append([Recognised(300.0)])
    log.finish()
    thread.join(PATIENCE_S)
    assert log.last == Ended(300.0)


def test_an_answer_that_comes_too_late_is_thrown_away_and_translation_goes_on() -> None:
    translator = Held()
    with session(staged(translator, IMPATIENT, drafts=False)) as log:
        log.append([spoken("One two.")])
        until(log, TranslationSkipped)
        log.append([spoken("Three four.", 1.0)])
        translator.may_answer.set()
        until(log, Translation)
        events = rest(log)
    assert translated(events) == text_of(translation_of(["Three", "four."]))
    assert len(skips(events)) == 1


def test_a_translator_that_raises_is_told_once_until_it_works_again() -> None:
    translator = Held(error=TranslationError("the endpoint is down"))
    translator.may_answer.set()
    stage = staged(translator, drafts=False)
    assert heard(stage, spoken("One two three")) == []
    told = heard(stage, spoken("four. Five. Six.", 1.5))
    assert told == [TranslationSkipped("de", 0.0, 2.0, "the endpoint is down")]
    translator.error = None
    told = heard(stage, spoken("Seven.", 3.0))
    assert told[0] == TranslationSkipped("de", 2.0, 3.0, "the endpoint is down")
    assert translated(told) == " .neveS"


def test_a_sentence_is_not_lost_when_only_a_reading_of_its_beginning_fails() -> None:
    translator = Held(error=TranslationError("busy"))
    translator.may_answer.set()
    stage = staged(translator)
    heard(stage, spoken("One two three"))
    translator.error = None
    told = heard(stage, spoken("four.", 1.5))
    assert (translated(told), skips(told)) == (text_of(translation_of("One two three four.".split())), [])


def test_an_unexpected_error_is_logged_and_the_session_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    translator = Held(error=ZeroDivisionError("division\nby zero"))
    translator.may_answer.set()
    with session(staged(translator)) as log:
        log.append([spoken("One two.")])
        events = rest(log)
    assert [each.why for each in skips(events)] == ["ZeroDivisionError: division by zero"]
    assert "ZeroDivisionError" in caplog.text


def test_words_that_wait_for_a_sentence_are_told_when_it_is_lost() -> None:
    translator = Held(error=TranslationError("down"))
    translator.may_answer.set()
    stage = staged(translator)
    told = list(stage.feed([spoken("One."), spoken("Guten Tag.", 1.0, "de"), spoken("Two.", 2.0)]))
    told += stage.flush()
    assert (translated(told), [(each.from_s, each.to_s) for each in skips(told)]) == (
        " Guten Tag.",
        [(0.0, 0.5), (2.0, 2.5)],
    )


def test_all_of_a_sentence_is_told_to_be_left_out_although_the_translator_hangs_while_it_is_said() -> None:
    translator = Held()
    stage = staged(translator, IMPATIENT)
    stage.feed([spoken("One two three")])
    stage._asked.call._late_s = 0.0  # type: ignore[union-attr]
    told = [*stage.feed([]), *stage.feed([spoken("four.", 2.0), spoken("Five.", 4.0)]), *stage.flush()]
    translator.may_answer.set()
    assert [(each.from_s, each.to_s) for each in skips(told)] == [(0.0, 1.5), (1.5, 4.5)]


def test_words_that_wait_for_a_translator_that_hangs_are_told_in_the_end() -> None:
    translator = Held()
    with session(staged(translator, IMPATIENT)) as log:
        log.append([spoken("One."), spoken("Guten Tag.", 1.0, "de"), spoken("Two.", 2.0), spoken("Ja.", 3.0, "de")])
        events = rest(log)
    translator.may_answer.set()
    assert translated(events) == " Guten Tag. Ja."


@pytest.mark.parametrize("targets", [("de",), ("de", "es", "fr")])
def test_a_translator_that_is_too_slow_loses_whole_sentences_and_memory_stays_bounded(targets: Sequence[str]) -> None:
    translator = Held()
    config = TranslationConfig(timeout=PATIENCE_S, max_behind=5.0)
    stage, told, most = staged(translator, config, targets, drafts=False), list[Event](), 0
    for n in range(2_000):
        told += stage.feed([spoken("Ab cd.", float(n))])
        most = max(most, stage.n_words)
    # Seven seconds at most wait for each target: five behind, the newest, and the sentence that is translated.
    assert most <= len(targets) * 2 * 7
    assert {each.why for each in skips(told)} == {"the translator is more than 5 s behind"}
    translator.may_answer.set()
    told += heard(stage)
    for target in targets:
        spans = [(each.from_s, each.to_s) for each in skips(told) if each.target == target]
        spans += [(e.source_start_s, e.source_end_s) for e in told if isinstance(e, Translation) and e.target == target]
        # All speech was either translated or told to be left out, and nothing twice.
        spans.sort()
        assert (spans[0][0], spans[-1][1]) == (0.0, 2_000.0)
        assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_the_end_does_not_wait_for_ever_for_what_waits() -> None:
    translator = Held()
    stage = staged(translator, TranslationConfig(timeout=0.1, max_behind=1_000.0))
    with session(stage) as log:
        log.append([spoken("Ab cd.", float(n)) for n in range(100)])
        events = rest(log)
    translator.may_answer.set()
    assert [(each.from_s, each.to_s) for each in skips(events)] == [(0.0, 1.0), (1.0, 100.0)]
    assert stage.n_words == 0


def test_without_a_limit_nothing_is_left_out() -> None:
    config = TranslationConfig(timeout=PATIENCE_S, max_behind=float("inf"))
    with session(staged(Backwards(), config, drafts=False)) as log:
        log.append([spoken("Ab cd.", float(n)) for n in range(300)])
        events = rest(log)
    assert (translated(events), skips(events)) == (" bA .dc" * 300, [])


def test_calls_that_are_never_answered_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_MOST_UNANSWERED", 2)
    translator, n_before = Held(), len(calls._running)
    for _ in range(5):
        with session(staged(translator, IMPATIENT)) as log:
            log.append([spoken("One two.")])
            assert len(skips(rest(log))) == 1
    assert len(calls._running) - n_before == 2
    translator.may_answer.set()
    with session(staged(translator, CONFIG)) as log:
        for thread in threading.enumerate():
            if thread.name == "translator":
                thread.join(PATIENCE_S)
        log.append([spoken("One two.")])
        assert translated(rest(log)) == " enO .owt"


def test_a_system_without_threads_is_a_failure_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:  # noqa: ARG001
        raise RuntimeError("can't start new thread")

    stage = staged(Backwards())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        told = heard(stage, spoken("One two."))
    assert skips(told) == [TranslationSkipped("de", 0.0, 1.0, "RuntimeError: can't start new thread")]
    assert translated(heard(stage, spoken("Three.", 1.0))) == " .eerhT"
