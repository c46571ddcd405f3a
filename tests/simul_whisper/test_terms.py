"""Names and terms: where they are written, and that nothing else is changed by listening for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE, AlignAttConfig, ConfigError, Model, PaddedAlignAttWhisper, Word, read_terms
from simul_whisper.alignatt import StopReason
from simul_whisper.pieces import finished
from simul_whisper.reading import Prompt
from simul_whisper.search import BeamSearch, SearchResult, StopRule
from simul_whisper.terms import TermPath, Terms
from tests.conftest import Recording
from tests.fakes import FakeDecoder, answering, scripted
from tests.simul_whisper.test_search import (
    PROMPT,
    START,
    TOKENIZER,
    A,
    B,
    C,
    D,
    Lines,
    at_edge,
    likely,
    never,
    random_tree,
    text_of,
    window_of,
)

PART = TOKENIZER.encode("ness")[0]


def terms_of(*terms: str, boost: float = 2.0) -> Terms:
    return Terms(TOKENIZER, terms, boost)


def search(
    lines: Lines, terms: Terms, *, n_beams: int = 1, stop: StopRule = never, prompt: Prompt = PROMPT
) -> SearchResult:
    decoder = FakeDecoder(TOKENIZER.n_vocab, scripted(lines, prompt.tokens))
    return finished(BeamSearch(TOKENIZER, n_beams, terms).run(window_of(decoder), prompt, stop), answering(decoder))


# " four six" is less likely than " one five", by 2.9 in all.
MISHEARD: Lines = {
    (): likely(40, a=0.9, b=0.1),
    (A,): likely(80, c=1.0),
    (B,): likely(80, d=0.5, c=0.5),
    (A, C): likely(160, eot=1.0),
    (B, D): likely(160, eot=1.0),
    (B, C): likely(160, eot=1.0),
}


@pytest.mark.parametrize("n_beams", [1, 3])
@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (terms_of(), [A, C]),
        (terms_of("four six"), [B, D]),
        (terms_of("four six", boost=1.9), [A, C]),
        (terms_of("four six", boost=0), [A, C]),
        (terms_of("four six one"), [A, C]),
        (terms_of("four six one", "one two", "four six"), [B, D]),
        (terms_of("six"), [A, C]),
    ],
)
def test_a_term_is_written_where_it_costs_less_than_its_boost(n_beams: int, terms: Terms, text: list[int]) -> None:
    result = search(MISHEARD, terms, n_beams=n_beams)
    assert text_of(result) == text
    assert result.best.stop is StopReason.END_OF_TEXT


def test_a_term_keeps_the_probabilities_that_the_model_gave_it() -> None:
    best = search(MISHEARD, terms_of("four six")).best
    assert [token.logprob for token in best.tokens] == pytest.approx(np.log([0.1, 0.5]), abs=1e-5)
    assert best.mean_logprob == pytest.approx(np.log(0.1 * 0.5) / 3, abs=1e-5)


def test_a_beginning_that_was_committed_is_gone_on_with() -> None:
    lines = {(): likely(40, a=0.8, d=0.2), (A,): likely(80, eot=1.0), (D,): likely(80, eot=1.0)}
    said = Prompt([*START, B], 0, has_text=True)
    assert text_of(search(lines, terms_of("four six"), prompt=said)) == [D]
    assert text_of(search(lines, terms_of("five six"), prompt=said)) == [A]


@pytest.mark.parametrize("n_beams", [1, 3])
@pytest.mark.parametrize(("n_heard", "logprob", "last"), [(1, -3.5, A), (1, -2.5, B), (4, -3.5, A), (4, -2.5, B)])
def test_tokens_that_were_heard_anyway_do_not_pay_for_a_last_word_that_was_not(
    n_beams: int, n_heard: int, logprob: float, last: int
) -> None:
    """Heard: the beginning of the term and " one"; listed: the same and " four", for which two tokens pay."""
    heard = (C, D, D, C)[:n_heard]
    lines = {heard[:n]: ({token: 0.0}, 40 + 40 * n) for n, token in enumerate(heard)}
    lines[heard] = ({A: 0.0, B: logprob}, 200)
    result = search(lines, terms_of(TOKENIZER.decode([*heard, B]).strip()), n_beams=n_beams)
    assert text_of(result) == [*heard, last]


def test_a_term_whose_beginning_was_misheard_is_paid_for_with_all_that_follows() -> None:
    lines: Lines = {
        (): likely(40, a=0.99, b=0.01),
        (A,): likely(80, d=1.0),
        (B,): likely(80, d=1.0),
        (B, D): likely(120, d=1.0),
        (A, D): likely(120, d=1.0),
        (A, D, D): likely(160, eot=1.0),
        (B, D, D): likely(160, eot=1.0),
    }
    # It costs 4.6.
    assert text_of(search(lines, terms_of("four six"))) == [A, D, D]
    assert text_of(search(lines, terms_of("four six six"))) == [B, D, D]


def test_a_term_that_more_letters_follow_is_none() -> None:
    follows = {
        (): likely(40, a=0.7, b=0.3),
        (A,): likely(80, eot=1.0),
        (B, D): likely(160, eot=1.0),
        (B, PART): likely(160, eot=1.0),
    }
    word: Lines = {**follows, (B,): likely(80, d=1.0)}
    longer: Lines = {**follows, (B,): ({PART: 0.0}, 80)}
    assert text_of(search(word, terms_of("four"))) == [B, D]
    assert text_of(search(longer, terms_of("four"))) == [A]


@pytest.mark.parametrize(("edge", "text"), [(390, [A]), (300, [B, D])])
def test_at_the_edge_a_term_that_was_only_begun_counts_for_nothing(edge: int, text: list[int]) -> None:
    lines = {
        (): likely(200, a=0.9, b=0.1),
        (A,): likely(390, c=1.0),
        (B,): likely(edge, d=1.0),
        (B, D): likely(390, c=1.0),
    }
    result = search(lines, terms_of("four six"), stop=at_edge)
    assert text_of(result) == text
    assert result.best.stop is StopReason.EDGE


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    n_beams=st.sampled_from([1, 2, 3]),
    terms=st.lists(st.lists(st.sampled_from(["one", "four", "five", "six"]), min_size=1, max_size=3), max_size=4),
)
def test_where_no_term_is_written_the_text_is_the_one_without_terms(
    seed: int, n_beams: int, terms: list[list[str]]
) -> None:
    tree = random_tree(seed, depth=4)
    plain = text_of(search(tree, terms_of(), n_beams=n_beams))
    found = text_of(search(tree, terms_of(*(" ".join(term) for term in terms)), n_beams=n_beams))
    if found != plain:
        text = TOKENIZER.decode(found)
        assert any(" ".join(term) in text for term in terms)


def test_guessed_tokens_change_no_text() -> None:
    for guess in ((A,), (A, C), (B, D), (B, C), (C,)):
        guessed = Prompt(START, 0, has_text=False, guess=guess)
        assert text_of(search(MISHEARD, terms_of("four six"), prompt=guessed)) == [B, D]


@pytest.mark.parametrize(
    ("terms", "spelt"),
    [
        (("its neighbour", "Siobhan Gallagher"), "neighbour"),
        (("Siobhan Gallagher", "apixaban", "five lamps"), "neighbor"),
    ],
)
def test_a_spelling_is_chosen_in_real_speech(
    tiny: Model, lighthouse: Recording, terms: tuple[str, ...], spelt: str
) -> None:
    said = lighthouse.samples[round(51.5 * SAMPLE_RATE) : round(55.5 * SAMPLE_RATE)]
    whisper = PaddedAlignAttWhisper(AlignAttConfig(terms=terms), tiny)
    words = list[Word]()
    for n, second in enumerate(np.split(said, 4)):
        whisper.insert_audio(second)
        words += whisper.infer(is_last=n == 3).words
    assert f"and its {spelt} every" in "".join(word.text for word in words)


def path_after(terms: Terms, text: str, *, has_spaces: bool = True) -> TermPath:
    return terms.at(TOKENIZER.encode(text), has_spaces=has_spaces)


@pytest.mark.parametrize(
    ("text", "term", "has_spaces", "is_found"),
    [
        ("I met Siobhan", "Siobhan", True, True),
        (" Kubernetes", "kubernetes", True, True),
        (" it is by Ana-Siobhan", "Siobhan", True, True),
        (" l'Oberon", "Oberon", True, True),
        (" theSiobhan", "Siobhan", True, False),
        (" Siobhan and", "Siobhan", True, False),
        (" किSiobhan", "Siobhan", True, False),
        ("私はSiobhan", "Siobhan", False, True),
        ("今日は富士山", "富士山", False, True),
    ],
)
def test_terms_are_found_where_words_begin(text: str, term: str, has_spaces: bool, is_found: bool) -> None:
    assert (path_after(terms_of(term), text, has_spaces=has_spaces).earned > 0) == is_found


def test_the_boost_grows_with_the_tokens_of_a_term_and_has_a_bound() -> None:
    def earned(term: str) -> float:
        return path_after(terms_of(term), f" {term}").earned

    assert earned("one") == 1
    assert earned("one four") == 3
    assert earned("one four five six one four five six") == 9


def test_the_first_tokens_that_are_tried_are_likely_ones() -> None:
    terms, logprobs = terms_of("one", "four", "five"), np.full(TOKENIZER.n_vocab, -50.0, np.float32)
    logprobs[[A, B, C, D]] = [-5.0, -9.0, -1.0, -0.5]
    assert terms.expected(TermPath(), logprobs, begins=True) == {A, C}
    assert terms.expected(TermPath(), logprobs, begins=False) == set()


def test_a_file_of_terms_is_a_list(tmp_path: Path) -> None:
    file = tmp_path / "terms.txt"
    file.write_bytes("\ufeff# names\n\n Ada Lovelace \r\nmel\nmel\n富士山\n".encode())
    assert read_terms(file) == ("Ada Lovelace", "mel", "富士山")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "not a list of terms, one a line, in UTF-8"),
        (b"a" * 101, "expected at most 100 printable characters"),
        (b"a\0b", "expected at most 100 printable characters"),
        (b"\n".join(b"%d" % n for n in range(5001)), "got 5001 terms, expected at most 5000"),
        (b" " * (1 << 21), "expected at most 1048576"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_bad_file_is_refused_in_a_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "terms.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as refused:
        read_terms(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("terms", ["Ada", [1], ["a\nb"], ["a" * 101], ["\ud800"]])
def test_bad_terms_are_refused(terms: Sequence[str]) -> None:
    with pytest.raises(ConfigError, match="term"):
        AlignAttConfig(terms=terms).validated()


def test_terms_are_kept_once_each() -> None:
    assert AlignAttConfig(terms=[" Ada", "Ada ", "", "mel"]).validated().terms == ("Ada", "mel")
