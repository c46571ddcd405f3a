"""Text is translated while it is said: against an oracle that knows the order of words, and however it is cut."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import BackendError, SimultaneousTranslation, Translated, Word
from tests.properties import examples
from tests.simul_whisper.translators.simultaneous_text import Answering, fed, said, tokens, translated
from tests.translating import ORDERS, Backwards, Order, same, text_of, translation_of, words_of

# None twice, because another order could make a loop of what is not said three times on end.
WORDS = st.lists(st.from_regex("[abc]{2}[xy]{2}z", fullmatch=True), min_size=1, max_size=12, unique=True)


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


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(BackendError, match=r"sentencex.*simul-whisper\[translate\]"):
        SimultaneousTranslation("de")
