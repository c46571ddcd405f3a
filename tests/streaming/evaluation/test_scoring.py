"""Scores against hand-counted examples, slow oracles, and simulstream where it is installed."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.evaluation.scoring import (
    CHARACTER_LANGUAGES,
    Edits,
    bleu,
    character_edits,
    chrf,
    first_word_s,
    has_last_unit,
    has_loop,
    laal_s,
    normalised,
    unit_delays,
    units,
    word_edits,
)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("the tide turns", "the tide turns", Edits(n_reference=3)),
        ("THE TIDE TURNS", "The tide, turns!", Edits(n_reference=3)),
        ("the tide turns", "the time turns", Edits(substitutions=1, n_reference=3)),
        ("the tide turns", "tide turns", Edits(deletions=1, n_reference=3)),
        ("the tide turns", "the tide it turns", Edits(insertions=1, n_reference=3)),
        ("the tide turns", "", Edits(deletions=3, n_reference=3)),
        ("", "thanks for watching", Edits(insertions=3)),
        ("", "", Edits()),
        ("[music]", "", Edits()),
        ("Mister Smith's colour isn't twenty", "Mr. Smith's color is not 20", Edits(n_reference=7)),
    ],
)
def test_word_edits_in_english(reference: str, hypothesis: str, expected: Edits) -> None:
    assert word_edits(reference, hypothesis, "en") == expected


def test_other_languages_keep_their_spelling() -> None:
    assert normalised(" ¡Señor Müller, (lacht) 20! ", "de") == "señor müller 20"
    assert word_edits("colour", "color", "de").errors == 1


@pytest.mark.parametrize("language", ["en", "de"])
def test_what_is_invisible_is_no_error(language: str) -> None:
    assert word_edits("area of \u200b\u200bpower\ufeff", "area of power", language).errors == 0


def test_character_edits() -> None:
    assert character_edits("潮水，退了。", "潮 水涨了", "zh") == Edits(substitutions=1, n_reference=4)
    assert character_edits("안녕 하세요", "안녕하세요", "ko") == Edits(n_reference=5)
    assert character_edits("", "字幕", "ja") == Edits(insertions=2)
    assert {"zh", "ja", "yue"} < CHARACTER_LANGUAGES


def test_counts_add_up_to_the_rate_of_the_corpus() -> None:
    total = sum([word_edits("a b c", "a b", "de"), word_edits("d", "e", "de"), word_edits("", "f", "de")], Edits())
    assert total == Edits(substitutions=1, deletions=1, insertions=1, n_reference=4)
    assert total.rate == 3 / 4


def test_rate_without_reference_is_none() -> None:
    assert word_edits("", "f g", "en").rate is None


def distance(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein, by its recursive definition row by row."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        previous, row = row, [i]
        for j, got in enumerate(hypothesis, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (expected != got)))
    return row[-1]


letters = st.lists(st.sampled_from("abcd"), max_size=8)


@given(letters, letters)
def test_errors_are_the_edit_distance(reference: list[str], hypothesis: list[str]) -> None:
    expected = distance(reference, hypothesis)
    words = word_edits(" ".join(reference), " ".join(hypothesis), "de")
    characters = character_edits("".join(reference), "".join(hypothesis), "de")
    assert (words.errors, words.n_reference) == (expected, len(reference))
    assert (characters.errors, characters.n_reference) == (expected, len(reference))
    assert words.n_reference - words.deletions + words.insertions == len(hypothesis)


def test_bleu_and_chrf() -> None:
    references = ["The tide turns twice a day.", "Here is the land, be careful."]
    assert bleu(references, references) == pytest.approx(100)
    assert chrf(references, references) == pytest.approx(100)
    assert bleu(references, ["", ""]) == 0
    shouted = [text.upper() for text in references]
    assert bleu(references, shouted) < 50 < bleu(references, shouted, lowercase=True)
    assert chrf(references, shouted) < 50 < chrf(references, shouted, lowercase=True)


@given(st.lists(st.text(string.ascii_lowercase + " ", min_size=1), min_size=1, max_size=4))
def test_bleu_and_chrf_stay_in_range(texts: list[str]) -> None:
    for score in (bleu(texts, texts[::-1]), chrf(texts, texts[::-1])):
        assert 0 <= score <= 100 + 1e-6


@pytest.mark.parametrize(
    ("delays_s", "source_length_s", "n_reference_words", "expected"),
    [
        ([1, 2, 3, 4], 4, 4, 1.0),
        ([4, 4, 4, 4], 4, 4, 4.0),
        ([2, 2, 4, 4], 4, 4, (2 + 1 + 2) / 3),
        ([1, 2], 4, 4, 1.0),
        ([1, 2, 3, 4], 4, 2, 1.0),
        ([5], 4, 4, 5.0),
        ([1, 9, 9], 4, 2, (1 + 9 - 4 / 3) / 2),
    ],
)
def test_laal_by_hand(delays_s: list[float], source_length_s: float, n_reference_words: int, expected: float) -> None:
    assert laal_s(delays_s, source_length_s, n_reference_words) == pytest.approx(expected)


def laal_slow(delays: list[float], source_length: float, n_reference: int) -> float:
    """Equations 1 and 3 of 2206.05807, letter by letter."""
    gamma = max(len(delays), n_reference) / source_length
    reached = [i for i in range(1, len(delays) + 1) if delays[i - 1] >= source_length]
    tau = min(reached) if reached else len(delays)
    return 1 / tau * sum(delays[i - 1] - (i - 1) / gamma for i in range(1, tau + 1))


delay_lists = st.lists(st.floats(0, 60), min_size=1, max_size=30).map(sorted)
source_lengths = st.floats(0.5, 60)
reference_lengths = st.integers(0, 40)


@given(delay_lists, source_lengths, reference_lengths)
def test_laal_equals_its_definition(delays: list[float], source_length: float, n_reference: int) -> None:
    assert laal_s(delays, source_length, n_reference) == pytest.approx(laal_slow(delays, source_length, n_reference))


@pytest.fixture(scope="module")
def simulstream_laal() -> Any:
    module = pytest.importorskip("simulstream.metrics.scorers.latency.stream_laal", exc_type=ImportError)
    return module.StreamLaal._sentence_level_laal


@given(delays=delay_lists, source_length=source_lengths, n_reference=reference_lengths)
def test_laal_is_that_of_simulstream(
    simulstream_laal: Any, delays: list[float], source_length: float, n_reference: int
) -> None:
    expected = simulstream_laal(delays, source_length, n_reference)
    assert laal_s(delays, source_length, n_reference) == pytest.approx(expected)


def test_first_word() -> None:
    assert first_word_s([1.5, 1.5, 2.5]) == 1.5
    assert first_word_s([]) is None


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("He asked himself: answered he, answered he, Answered he. Answered he!", "en", True),
        ("no no no", "en", False),
        ("no no no no no no no no", "en", True),
        ("red green blue grey red green blue grey", "en", False),
        ("red green blue grey red green blue grey red green blue grey and so on", "en", True),
        ("the tide turns and the tide turns", "en", False),
        ("ご視聴ありがとうございました" * 3, "ja", True),
        ("ご視聴ありがとうございました" * 2, "ja", False),
        ("", "en", False),
    ],
)
def test_loops(text: str, language: str, expected: bool) -> None:
    assert has_loop(text, language) == expected


@given(st.lists(st.sampled_from("ab"), max_size=40))
def test_a_loop_is_a_phrase_three_times_over_eight_words(said: list[str]) -> None:
    n = len(said)
    phrases = [(start, period) for start in range(n) for period in range(1, n)]
    expected = any(
        said[start : start + repeats * period] == said[start : start + period] * repeats
        for start, period in phrases
        for repeats in range(3, (n - start) // period + 1)
        if repeats * period >= 8
    )
    assert has_loop(" ".join(said), "de") == expected


@pytest.mark.parametrize(
    ("hypothesis", "language", "expected"),
    [
        ("The tide turns", "en", True),
        ("Tide TURNS, thank you", "en", True),
        ("turns the tide", "en", False),
        ("the tide", "en", False),
        ("", "en", False),
        ("潮水了", "zh", True),
        ("潮水退", "zh", False),
    ],
)
def test_the_last_unit_is_heard(hypothesis: str, language: str, expected: bool) -> None:
    assert has_last_unit("The tide turns." if language == "en" else "潮水退了。", hypothesis, language) == expected


@given(st.lists(st.tuples(st.text("ab 潮", max_size=4), st.floats(0, 60)), max_size=8), st.sampled_from(["en", "zh"]))
def test_every_unit_has_the_delay_of_the_piece_that_ends_it(pieces: list[tuple[str, float]], language: str) -> None:
    said = units("".join(text for text, _ in pieces), language)
    delays = unit_delays(pieces, language)
    assert len(delays) == len(said)
    for n_pieces in range(len(pieces) + 1):
        came = units("".join(text for text, _ in pieces[:n_pieces]), language)
        # Only the last word of what came may go on in a later piece.
        n_whole = max(0, len(came) - 1)
        assert set(delays[:n_whole]) <= {delay_s for _, delay_s in pieces[:n_pieces]}


def test_a_word_does_not_wait_for_its_punctuation() -> None:
    assert unit_delays([(" The tide", 1.0), (",", 2.0), (" turns", 3.0), (".", 4.0)], "en") == [1.0, 1.0, 3.0]
    assert unit_delays([("潮", 1.0), ("水。", 2.0)], "zh") == [1.0, 2.0]
