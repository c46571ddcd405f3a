"""Where the sentences end of a text that is translated while it is said; those that are late, or lost, or drafts."""

from collections.abc import Sequence

import pytest

from simul_whisper import SimultaneousTranslation, Word
from tests.simul_whisper.translators.simultaneous_text import fed, said, translated
from tests.translating import Backwards, text_of, translation_of, words_of


@pytest.mark.parametrize(
    ("spoken", "sentences"),
    [
        ("Dr. Smith went home. He slept.", ["Dr. Smith went home.", "He slept."]),
        ("It costs 3.5 euros. Yes", ["It costs 3.5 euros.", "Yes"]),
        ("He lives in the U.S. as we do", ["He lives in the U.S. as we do"]),
        ("Stop! Now? Good.", ["Stop!", "Now?", "Good."]),
        ("M. Dupont is here", ["M. Dupont is here"]),
    ],
)
def test_sentences_end_where_they_end(spoken: str, sentences: list[str]) -> None:
    for language in ("en", "fr") if "M." in spoken else ("en",):
        translator = Backwards()
        fed(SimultaneousTranslation("de"), translator, [[word] for word in words_of(spoken, language=language)])
        assert [each.text for each in translator.asked if each.is_whole] == sentences


def test_the_end_of_a_sentence_need_not_wait_for_the_next_word() -> None:
    text, translator = SimultaneousTranslation("de"), Backwards()
    text.hear(words_of("We went home."))
    assert said(translated(text, translator)) == text_of(translation_of(["We", "went", "home."]))


def test_what_was_before_a_sentence_is_its_context() -> None:
    translator = Backwards()
    fed(SimultaneousTranslation("de"), translator, [words_of("Ab cd. Ef."), words_of("Gh.", 2.0, "es")])
    assert [(each.before, each.before_told) for each in translator.asked] == [
        ("", ""),
        (" Ab cd.", " bA .dc"),
        ("", ""),
    ]


def test_another_language_or_utterance_ends_a_sentence() -> None:
    text, translator = SimultaneousTranslation("de"), Backwards()
    text.hear(words_of("one two"), 1)
    text.hear(words_of("three", 1.0), 2)
    text.hear(words_of("cuatro", 2.0, "es"), 2)
    text.hear(words_of("cinco", 3.0, "es"), 2)
    text.end_sentence()
    told = translated(text, translator)
    assert [(each.source, each.text) for each in translator.asked] == [
        ("en", "one two"),
        ("en", "three"),
        ("es", "cuatro cinco"),
    ]
    assert [each.utterance for each in told] == [1, 2, 2]


def test_long_sentences_are_cut_at_a_comma_or_anywhere() -> None:
    translator = Backwards()
    fed(SimultaneousTranslation("de"), translator, [words_of("a " * 35 + "b, " + "c " * 100)])
    assert [len(each.words) for each in translator.asked if each.is_whole] == [36, 40, 40, 20]


def test_words_in_the_target_language_are_copied_at_once_and_in_order() -> None:
    text, translator = SimultaneousTranslation("de"), Backwards()
    german = [
        *words_of("Guten Tag, Herr Dr", 0.0, "de"),
        Word(".", 2.0, 2.0, 0.5, "de"),
        *words_of("Schmidt", 2.0, "de"),
    ]
    text.hear(german[:2])
    text.hear_draft(german[2:])
    assert [each.words for each in text.ready()] == [tuple(german[:2])]
    assert text.draft == tuple(german[2:])
    text.hear(words_of("and", 1.0))
    assert text.draft == ()
    text.hear(german[2:])
    # They wait for what was said before them.
    assert text.ready() == []
    assert said(translated(text, translator)) == " dna Herr Dr. Schmidt"
    assert text.next_request() is None


def test_a_draft_is_of_this_sentence_and_follows_what_was_told() -> None:
    text, translator = SimultaneousTranslation("de"), Backwards()
    text.hear(words_of("ab cd"))
    told = translated(text, translator)
    assert (said(told), _text(text.draft)) == (" ba", " dc")
    text.hear_draft(words_of("ef gh. Ij", 1.0))
    request = text.next_draft()
    assert request
    assert (request.sentence.text, request.sentence.told) == ("ab cd ef gh.", " ba")
    text.take(request, translator.translate(request.sentence))
    assert _text(text.draft) == " dc fe .hg"
    assert text.next_draft() is None
    text.hear_draft([])
    assert text.next_draft() is None
    text.end_sentence()
    assert said(translated(text, translator)) == " dc"
    assert text.draft == ()


def test_punctuation_of_a_sentence_that_is_over_is_not_a_sentence() -> None:
    text, translator = SimultaneousTranslation("de"), Backwards()
    text.hear([*words_of("Where to"), Word("?", 1.0, 1.0, 1.0, "en"), Word('"', 1.0, 1.0, 1.0, "en")])
    text.hear([Word(".", 1.5, 1.5, 1.0, "en"), Word(" –", 1.5, 1.6, 1.0, "en")])
    text.end_sentence()
    translated(text, translator)
    assert [each.text for each in translator.asked] == ["Where to?"]


def test_sentences_that_are_too_late_are_left_out_but_not_the_one_that_is_being_translated() -> None:
    text = SimultaneousTranslation("de")
    for n in range(10):
        text.hear(words_of("Ab cd.", float(n)))
    request = text.next_request()
    assert (text.behind_s, text.n_waiting, text.n_words) == (9.0, 10, 20)
    assert text.leave_out(5.0, request) == [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    assert request
    assert said(text.take(request, Backwards().translate(request.sentence))) == " bA .dc"
    assert text.behind_s == 5.0


def test_what_is_lost_is_passed_over_to_the_end_of_the_sentence() -> None:
    text, translator = SimultaneousTranslation("de"), Backwards()
    text.hear(words_of("ab cd ef"))
    assert said(translated(text, translator)) == " ba dc"
    text.hear(words_of("gh", 1.5))
    request = text.next_request()
    assert request
    assert text.lose(request) == (1.0, 2.0)
    assert text.lose(request) is None
    text.hear(words_of("ij. Kl.", 2.0))
    assert text.take(request, translator.translate(request.sentence)) == []
    assert said(translated(text, translator)) == " .lK"


def test_after_a_failure_a_sentence_is_tried_again_when_it_is_whole() -> None:
    text, translator = SimultaneousTranslation("de"), Backwards()
    text.hear(words_of("ab cd"))
    request = text.next_request()
    assert request
    text.fail(request)
    text.hear(words_of("ef", 1.0))
    assert text.next_request() is None
    text.end_sentence()
    assert said(translated(text, translator)) == " ba dc fe"


def _text(words: Sequence[Word]) -> str:
    return "".join(word.text for word in words)
