"""Text is translated while it is said: against an oracle that knows the order of words, and however it is cut."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import (
    BackendError,
    Sentence,
    SimultaneousTranslation,
    TargetToken,
    Translated,
    TranslationError,
    Translator,
    Word,
)
from tests.properties import examples
from tests.translating import ORDERS, Backwards, Order, same, text_of, translation_of, words_of

# None twice, because another order could make a loop of what is not said three times on end.
WORDS = st.lists(st.from_regex("[abc]{2}[xy]{2}z", fullmatch=True), min_size=1, max_size=12, unique=True)


def translated(text: SimultaneousTranslation, translator: Translator) -> list[Translated]:
    """All that is told now."""
    told = text.ready()
    while request := text.next_request():
        told += text.take(request, translator.translate(request.sentence))
    return told


def said(told: Sequence[Translated]) -> str:
    return "".join(word.text for each in told for word in each.words)


def fed(text: SimultaneousTranslation, translator: Translator, pieces: Sequence[Sequence[Word]]) -> list[Translated]:
    told = list[Translated]()
    for piece in pieces:
        text.hear(piece)
        told += translated(text, translator)
    text.end_sentence()
    return told + translated(text, translator)


def cut(words: Sequence[Word], lengths: Sequence[int]) -> list[Sequence[Word]]:
    """In pieces of these lengths, and the rest."""
    pieces, start = list[Sequence[Word]](), 0
    for length in lengths:
        pieces.append(words[start : start + length])
        start += length
    return [*pieces, words[start:]]


@examples(200)
@given(WORDS, st.sampled_from(ORDERS), st.integers(1, 4))
def test_each_word_is_told_as_soon_as_the_oracle_says(texts: list[str], order: Order, threshold: int) -> None:
    text, translator, words = SimultaneousTranslation("de", threshold), Backwards(order), words_of(" ".join(texts))
    so_far = ""
    for n_known in range(1, len(words) + 1):
        text.hear(words[n_known - 1 : n_known])
        so_far += said(translated(text, translator))
        # Read from words that are known, and not among the last ones.
        read = takewhile(range(n_known - threshold).__contains__, order(len(words)))
        assert so_far == "".join(text_of(translation_of([texts[position]])) for position in read)
    text.end_sentence()
    assert so_far + said(translated(text, translator)) == text_of(translation_of(texts, order))


@examples(200)
@given(
    st.lists(WORDS, min_size=1, max_size=5),
    st.sampled_from(ORDERS),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 5), max_size=20),
    st.booleans(),
)
def test_how_words_are_cut_never_changes_what_is_told(
    sentences: list[list[str]],
    order: Order,
    threshold: int,
    is_aligned: bool,
    is_late: bool,
    lengths: list[int],
    drafts: bool,
) -> None:
    """A translator that does not say what it reads must not change its mind about words that it read twice."""
    order = order if is_aligned else same
    words = words_of(" ".join(" ".join(each) + "." for each in sentences))
    if is_late:
        words = [part for word in words for part in _late(word)]
    text, translator = SimultaneousTranslation("de", threshold), Backwards(order, is_aligned)
    told, pieces = list[Translated](), cut(words, lengths)
    for n, piece in enumerate(pieces):
        text.hear(piece)
        told += translated(text, translator)
        if drafts and n + 1 < len(pieces):
            text.hear_draft(pieces[n + 1])
            if request := text.next_draft():
                assert text.take(request, translator.translate(request.sentence)) == []
    text.end_sentence()
    told += translated(text, translator)
    expected = [text_of(translation_of([*each[:-1], each[-1] + "."], order)) for each in sentences]
    assert said(told) == "".join(expected)
    assert text.draft == ()
    assert text.n_words == 0
    _check_times(told, words)


def _late(word: Word) -> list[Word]:
    """The full stop as a word of its own."""
    if not word.text.endswith("."):
        return [word]
    return [replace(word, text=word.text[:-1]), replace(word, text=".", start_s=word.end_s)]


def _check_times(told: Sequence[Translated], source: Sequence[Word]) -> None:
    assert (told[0].source_start_s, told[-1].source_end_s) == (source[0].start_s, source[-1].end_s)
    for before, after in pairwise(told):
        assert before.source_end_s == after.source_start_s
    for each in told:
        times = [each.source_start_s, *(time for word in each.words for time in (word.start_s, word.end_s))]
        assert [*times, each.source_end_s] == sorted([*times, each.source_end_s])
        assert {word.language for word in each.words} == {"de"}


def test_a_word_lasts_as_long_as_what_it_was_read_from() -> None:
    told = fed(SimultaneousTranslation("de"), Backwards(), [words_of("ab cd ef")])
    assert [(word.text, word.start_s, word.end_s) for each in told for word in each.words] == [
        (" ba", 0.0, 0.5),
        (" dc", 0.5, 1.0),
        (" fe", 1.0, 1.5),
    ]


def test_words_that_nobody_can_place_are_spread_over_the_sentence() -> None:
    told = fed(SimultaneousTranslation("de"), Backwards(is_aligned=False), [words_of("ab cd ef")])
    assert [(word.start_s, word.end_s) for each in told for word in each.words] == [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        # So many words are not translated yet; then readings are compared, but for the newest one's last word.
        (0, ["", " ba", " dc", " fe", " hg"]),
        (1, ["", "", " ba dc", " fe", " hg"]),
        (2, ["", "", "", "", " ba dc fe"]),
    ],
)
def test_readings_have_to_agree_where_attention_is_not_known(threshold: int, expected: list[str]) -> None:
    text, translator = SimultaneousTranslation("de", threshold), Backwards(is_aligned=False)
    so_far = list[str]()
    for word in words_of("ab cd ef gh ij"):
        text.hear([word])
        so_far.append(said(translated(text, translator)))
    assert so_far == expected
    text.end_sentence()
    assert "".join(so_far) + said(translated(text, translator)) == " ba dc fe hg ji"


def test_what_readings_do_not_agree_on_waits() -> None:
    translator = Answering(tokens(" ich| bin| da"), tokens(" ich| war| da| und"), tokens(" war| dort| und| ging"))
    text, so_far = SimultaneousTranslation("de"), list[str]()
    for word in words_of("i was there and"):
        text.hear([word])
        so_far.append(said(translated(text, translator)))
    assert so_far == ["", "", " ich", " war"]


class Answering:
    """Says what it is told to, piece by piece."""

    def __init__(self, *answers: Sequence[TargetToken]) -> None:
        self.answers, self.asked = list(answers), list[Sentence]()

    @property
    def description(self) -> str:
        return "answers"

    def check_pair(self, source: str, target: str) -> None:
        pass

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        self.asked.append(sentence)
        return tuple(self.answers.pop(0))


def tokens(text: str, *positions: int) -> list[TargetToken]:
    """Pieces, parted by |."""
    parts = text.split("|")
    return [
        TargetToken(part, positions[min(n, len(positions) - 1)] if positions else None) for n, part in enumerate(parts)
    ]


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


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(BackendError, match=r"sentencex.*simul-whisper\[translate\]"):
        SimultaneousTranslation("de")


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
