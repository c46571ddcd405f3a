"""Words come out in other languages, in order, as the targets are chosen."""

from simul_whisper import TranslationError
from streaming.events import Draft, Language, SpeechEnded, Translation, TranslationDraft, TranslationSkipped
from streaming.stages.metrics import TranslationMetrics
from streaming.stages.translation import TranslationStage
from tests.streaming.serving import counted
from tests.streaming.stages.translation_stage import (
    CONFIG,
    heard,
    rest,
    session,
    skips,
    spoken,
    staged,
    translated,
    until,
)
from tests.translating import Backwards, Held, pairs_swapped, text_of, translation_of, words_of


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
