"""What a translator answers becomes words, whatever it answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import SimultaneousTranslation, TargetToken, Translated, TranslationError, Word
from tests.properties import examples
from tests.simul_whisper.translators.simultaneous_text import Answering, fed, said, tokens, translated
from tests.translating import Backwards, words_of


def test_a_word_waits_for_its_last_piece() -> None:
    """Its beginning is read from far back, its end from the edge."""
    translator = Answering(
        tokens(" Haus| Tür|en| auf", 0, 1, 2, 2), tokens(" Türen| auf| ja", 1, 2, 3), tokens(" auf", 2)
    )
    text = SimultaneousTranslation("de")
    text.hear(words_of("house doors open"))
    assert said(translated(text, translator)) == " Haus"
    text.hear(words_of("yes", 1.5))
    assert said(translated(text, translator)) == " Türen auf"


@pytest.mark.parametrize(
    ("target", "answer", "expected"),
    [
        ("de", "Haus", " Haus"),
        ("de", "  Haus|\n Tür|,|  auf ", " Haus Tür, auf"),
        ("de", "Haus und Hof", " Haus und Hof"),
        ("fr", " l|'|homme", " l'homme"),
        ("fr", " Quoi|\xa0|?", " Quoi ?"),
        ("zh", " 你好|，|世界|。", "你好，世界。"),
        ("ja", "これは|pen|です", "これはpenです"),
        ("th", "สวัสดี", "สวัสดี"),
    ],
)
def test_words_begin_where_the_language_says(target: str, answer: str, expected: str) -> None:
    told = fed(SimultaneousTranslation(target), Answering(tokens(answer)), [words_of("anything")])
    assert said(told) == expected
    words = [word.text for each in told for word in each.words]
    assert all(any(letter.isalnum() or letter == "?" for letter in word) for word in words)


def test_what_follows_does_not_run_into_what_was_told() -> None:
    """A translator may go on with the end of a word that was told as whole."""
    translator = Answering(tokens(" Haus| Tür| auf", 0, 1, 2), tokens("tür| Tür| auf", 0, 1, 2), tokens(",| auf", 1, 2))
    text = SimultaneousTranslation("de")
    text.hear(words_of("a b"))
    so_far = said(translated(text, translator))
    text.hear(words_of("c", 1.0))
    so_far += said(translated(text, translator))
    text.end_sentence()
    assert so_far + said(translated(text, translator)) == " Haus tür Tür, auf"


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_loop_is_left_out(is_whole: bool) -> None:
    translator = Answering(tokens("| ".join([" ja", *["nein", "doch"] * 20]) + "|.", 0), tokens(" gut", 2))
    text = SimultaneousTranslation("de")
    text.hear(words_of("a b c"))
    if is_whole:
        text.end_sentence()
    assert said(translated(text, translator)) == " ja nein doch"


def test_what_is_said_again_and_again_is_translated_so() -> None:
    told = fed(SimultaneousTranslation("de"), Backwards(), [words_of("no " * 12)])
    assert said(told) == " on" * 12


def test_a_translation_that_never_ends_is_cut() -> None:
    translator = Answering([TargetToken(f" {n}") for n in range(100_000)])
    told = fed(SimultaneousTranslation("de", 5), translator, [words_of("a b c")])
    assert said(told).split() == [str(n) for n in range(40)]


def test_a_sentence_that_brings_nothing_is_an_error() -> None:
    text = SimultaneousTranslation("de")
    text.hear(words_of("ab cd ef."))
    request = text.next_request()
    assert request
    with pytest.raises(TranslationError, match="nothing"):
        text.take(request, tokens(" "))
    assert text.lose(request) == (0.0, 1.5)
    assert text.n_words == 0


def test_positions_that_do_not_exist_do_no_harm() -> None:
    told = fed(SimultaneousTranslation("de", 2), Answering(tokens(" a| b| c", -5, 1, 99)), [words_of("x y")])
    assert said(told) == " a b c"


def test_half_a_character_does_no_harm() -> None:
    """As a JSON string may hold; two halves are one."""
    told = fed(SimultaneousTranslation("de", 2), Answering(tokens(" a\ud83d| \ud83d\ude42", 0, 1)), [words_of("x y")])
    assert said(told) == " a\ufffd \U0001f642"


SPOKEN = st.builds(
    Word,
    st.sampled_from([" ab", "cd", " ef.", " gh,", ".", " –", "'s", " «", "。", "你", "", "  ", "?", " Dr."]),
    st.floats(0, 100),
    st.floats(0, 100),
    st.just(1.0),
    st.sampled_from(["en", "en", "en", "de", "zh", None]),
)
ANSWERS = st.lists(
    st.builds(
        TargetToken,
        st.sampled_from([" ab", "cd", " ", "", ".", " ef", "gh\n\n", " x y", "，", "a\u0301"]),
        st.one_of(st.integers(-1, 50), st.none()),
    ),
    max_size=60,
)


@examples(300)
@given(st.data(), st.sampled_from(["de", "zh", "fr"]), st.integers(0, 3))
def test_nothing_that_is_said_or_answered_does_harm(data: st.DataObject, target: str, threshold: int) -> None:
    text, told = SimultaneousTranslation(target, threshold), list[Translated]()

    def answered() -> None:
        told.extend(text.ready())
        while request := text.next_request() or text.next_draft():
            try:
                told.extend(text.take(request, data.draw(ANSWERS)))
            except TranslationError:
                text.lose(request)
            told.extend(text.ready())

    for utterance in range(1, data.draw(st.integers(1, 4)) + 1):
        text.hear(data.draw(st.lists(SPOKEN, max_size=60)), utterance)
        text.hear_draft(data.draw(st.lists(SPOKEN, max_size=5)), utterance)
        answered()
    text.end_sentence()
    answered()
    assert (text.n_words, text.n_waiting, text.draft) == (0, 0, ())
    for each in told:
        assert each.words
        assert {word.language for word in each.words} == {target}
