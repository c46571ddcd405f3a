"""Words come out in other languages, whatever the translator does; and the transcript never waits for it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pytest

from simul_whisper import TranslationConfig, TranslationError, Translator
from streaming.events import (
    Draft,
    Ended,
    Event,
    Language,
    Recognised,
    SpeechEnded,
    Translation,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.sessions.event_log import EventLog
from streaming.stages import calls
from streaming.stages.metrics import TranslationMetrics
from streaming.stages.stage import run_stage
from streaming.stages.translation import TranslationStage
from tests.streaming.serving import PATIENCE_S, counted
from tests.translating import Backwards, Held, pairs_swapped, text_of, translation_of, words_of

CONFIG = TranslationConfig(timeout=PATIENCE_S)
IMPATIENT = TranslationConfig(timeout=0.3, max_behind=5.0)


def spoken(text: str, start_s: float = 0.0, language: str | None = "en", utterance: int = 1) -> Words:
    words = words_of(text, start_s, language)
    return Words(tuple(words), words[-1].end_s, utterance)


def translated(events: Sequence[Event], target: str = "de") -> str:
    return "".join(each.text for each in events if isinstance(each, Translation) and each.target == target)


def skips(events: Sequence[Event]) -> list[TranslationSkipped]:
    return [each for each in events if isinstance(each, TranslationSkipped)]


def staged(
    translator: Translator, config: TranslationConfig = CONFIG, targets: Sequence[str] = ("de",), *, drafts: bool = True
) -> TranslationStage:
    return TranslationStage(translator, config, targets, drafts=drafts)


def heard(stage: TranslationStage, *events: Event) -> list[Event]:
    """What is told once the stage has nothing more to do."""
    stage.woken.clear()
    told = list(stage.feed(events))
    while stage._asked and not stage._asked.is_given_up:
        assert stage.woken.wait(PATIENCE_S)
        stage.woken.clear()
        told += stage.feed([])
    return told


@contextmanager
def session(stage: TranslationStage) -> Iterator[EventLog]:
    """A log that recognition and the stage write; it is not over before the stage is done."""
    log = EventLog()
    log.add_writer()
    thread = run_stage(log, stage)
    yield log
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def rest(log: EventLog) -> list[Event]:
    """Recognition is over: all events of the session."""
    log.append([Recognised(99.0)])
    log.finish()
    cursor, events = log.cursor(), list[Event]()
    while not cursor.is_done:
        new = cursor.read(PATIENCE_S)
        assert new, "the session does not end"
        events += new
    cursor.close()
    assert events[-1] == Ended(99.0)
    return events


def until(log: EventLog, kind: type[Event]) -> Event:
    """Wait until the log has such an event, and return it."""
    cursor = log.cursor()
    while True:
        new = cursor.read(PATIENCE_S)
        assert new, "it never came"
        found = [each for each in new if isinstance(each, kind)]
        if found:
            cursor.close()
            return found[-1]


def test_a_session_is_translated_to_its_last_word() -> None:
    with session(staged(Backwards(pairs_swapped), targets=("de", "es", "en"))) as log:
        log.append([spoken("One two three four"), Draft(tuple(words_of("five", 2.0)))])
        log.append([spoken("five six. Seven", 2.0), SpeechEnded(3.5), spoken("eight", 5.0, utterance=2)])
        events = rest(log)
    expected = "".join(
        text_of(translation_of(text.split(), pairs_swapped))
        for text in ("One two three four five six.", "Seven", "eight")
    )
    # English is what Whisper itself translates into.
    assert [translated(events, target) for target in ("de", "es", "en")] == [expected, expected, ""]
    assert skips(events) == []
    told = [each for each in events if isinstance(each, Translation) and each.target == "de"]
    assert (told[-1].source_start_s, told[-1].source_end_s, told[-1].utterance) == (5.0, 5.5, 2)
    drafts = {each.target: each.words for each in events if isinstance(each, TranslationDraft)}
    assert set(drafts.values()) <= {()}


def test_a_draft_follows_the_words_that_were_told() -> None:
    stage = staged(Backwards())
    told = heard(stage, spoken("ab cd"), Draft(tuple(words_of("ef gh", 1.0))))
    shown = [
        (each.target, "".join(word.text for word in each.words)) for each in told if isinstance(each, TranslationDraft)
    ]
    assert (translated(told), shown) == (" ba", [("de", " dc"), ("de", " dc fe hg")])
    assert not [
        each for each in heard(staged(Backwards(), drafts=False), spoken("ab cd")) if isinstance(each, TranslationDraft)
    ]


def test_words_that_come_during_a_call_are_read_together() -> None:
    translator = Held()
    stage = staged(translator, drafts=False)
    texts = "a1 b2 c3 d4 e5 f6 g7 h8".split()
    for n, text in enumerate(texts):
        assert stage.feed([spoken(text, n / 2)]) == []
    translator.may_answer.set()
    told = heard(stage)
    assert translated(told) == text_of(translation_of(texts[:-1]))
    assert [len(each.words) for each in translator.asked] == [2, 8]


def test_targets_take_turns() -> None:
    translator = Backwards()
    stage = staged(translator, targets=("de", "es", "fr"), drafts=False)
    for n in range(4):
        heard(stage, spoken(f"a{n}", n / 2))
    assert [each.target for each in translator.asked] == ["de", "es", "fr"] * 3


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


def test_a_language_that_is_not_translated_is_told_once() -> None:
    stage = staged(Backwards())
    told = heard(stage, spoken("One two. Three four.", 0.0, "xx"), spoken("Five six.", 2.0, "xx"), spoken("Good.", 3.0))
    why = "got xx to de, expected anything but xx; nothing that is said in xx after it is translated either"
    assert skips(told) == [TranslationSkipped("de", 0.0, 1.0, why)]
    assert translated(told) == " .dooG"
    assert heard(stage, Draft(tuple(words_of("Seven", 4.0, "xx"))), spoken("Seven eight.", 4.0, "xx")) == []
    assert stage.n_words == 0


def test_words_without_a_language_are_in_the_one_that_was_told() -> None:
    translator = Backwards()
    told = heard(staged(translator), Language("de"), spoken("Guten Tag.", 0.0, None))
    assert (translated(told), translator.asked) == (" Guten Tag.", [])


def test_words_in_the_target_language_need_no_translator() -> None:
    translator = Held()
    stage = staged(translator, targets=("de", "es"))
    told = stage.feed([spoken("Guten Tag.", 0.0, "de"), Draft(tuple(words_of("Ja", 1.0, "de")))])
    translator.may_answer.set()
    assert translated(told) == " Guten Tag."
    assert [each.text for each in told if isinstance(each, TranslationDraft)] == [" Ja"]


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


def test_words_that_wait_for_a_language_that_is_not_translated_are_told() -> None:
    stage = staged(Backwards())
    told = heard(stage, spoken("One. Two.", 0.0, "xx"), spoken("Guten Tag.", 1.0, "de"), spoken("Three", 3.0, "xx"))
    assert (translated(told), len(skips(told))) == (" Guten Tag.", 1)
    assert translated(heard(stage, spoken("Ja.", 4.0, "de"))) == " Ja."


def test_a_target_may_be_chosen_later_and_another_dropped() -> None:
    stage = staged(Backwards())
    told = heard(stage, spoken("ab cd ef", 0.0))
    assert translated(told) == " ba dc"
    stage.choose(["es", "en"])
    told = heard(stage, spoken("gh ij", 1.5), SpeechEnded(3.0))
    assert told[0] == TranslationDraft("de", ())
    assert (translated(told, "de"), translated(told, "es")) == ("", " hg ji")
    stage.choose(["es", "de"])
    assert translated(heard(stage, spoken("kl.", 3.0))) == " .lk"


def test_what_was_asked_for_a_target_that_is_dropped_is_not_told() -> None:
    translator = Held()
    stage = staged(translator)
    stage.feed([spoken("One two.")])
    stage.choose([])
    translator.may_answer.set()
    assert [each for each in heard(stage) if not isinstance(each, TranslationDraft)] == []
    stage.choose(["de"])
    assert translated(heard(stage, spoken("Three.", 1.0))) == " .eerhT"


def test_a_choice_is_followed_although_nothing_is_said() -> None:
    stage = staged(Backwards())
    with session(stage) as log:
        log.append([spoken("ab cd")])
        until(log, TranslationDraft)
        stage.choose([])
        while until(log, TranslationDraft) != TranslationDraft("de", ()):
            pass
        rest(log)


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


def test_what_is_counted() -> None:
    metrics, translator = TranslationMetrics(), Held()
    stage = TranslationStage(translator, CONFIG, ["de"], drafts=False, metrics=metrics)
    stage.feed([spoken("Ab cd."), spoken("Ef gh ij.", 1.0)])
    assert counted(metrics.read())["translation_sentences_waiting"] == 2
    translator.may_answer.set()
    heard(stage)
    translator.error = TranslationError("down")
    heard(stage, spoken("Kl.", 2.5))
    values = counted(metrics.read())
    names = "words tokens calls failures skipped_sentences".split()
    assert [values[f"translation_{name}_total"] for name in names] == [5, 10, 3, 1, 1]
    assert values["translation_delay_seconds_count"] == 2
    assert values["translation_seconds_total"] > 0


def test_a_session_that_is_gone_waits_for_nothing() -> None:
    metrics = TranslationMetrics()
    stage = TranslationStage(Backwards(), CONFIG, ["de"], drafts=False, metrics=metrics)
    assert counted(metrics.read())["translation_sentences_waiting"] == 0
    del stage
    assert "translation_sentences_waiting" not in counted(metrics.read())
