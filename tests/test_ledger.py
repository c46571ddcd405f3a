"""Tokens leave the window in whole words, with the audio they were read from."""

from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.ledger import Ledger, LedgerToken
from tests.fakes import tokenizer_of

TOKENIZER = tokenizer_of("base")
TEXT = " The untranslatability of supercalifragilistic words. It is known! Is it?"
TOKENS = TOKENIZER.encode(TEXT)


def ledger_of(*timed: tuple[str, int]) -> Ledger:
    """A ledger of words; their tokens are read a frame apart from the sample on."""
    ledger = Ledger(TOKENIZER)
    for text, sample in timed:
        tokens = TOKENIZER.encode(text)
        ledger.commit([LedgerToken(token, sample + 320 * n, -0.1) for n, token in enumerate(tokens)])
    return ledger


def test_an_empty_ledger() -> None:
    ledger = Ledger(TOKENIZER)
    assert (len(ledger), ledger.tokens, ledger.last_sample) == (0, [], None)
    assert ledger.cut(1000) == ledger.cut_all() == []
    assert ledger.best_cut(320, 640) == 320


def test_what_is_committed_is_kept_in_order() -> None:
    ledger = ledger_of((" one", 0), (" four", 8_000))
    assert TOKENIZER.decode(ledger.tokens) == " one four"
    assert (len(ledger), ledger.last_sample) == (2, 8_000)
    assert TOKENIZER.decode(ledger.cut_all()) == " one four"
    assert len(ledger) == 0


def test_a_cut_removes_what_was_read_before_it() -> None:
    ledger = ledger_of((" one", 0), (" four", 8_000), (" five", 16_000))
    assert TOKENIZER.decode(ledger.cut(8_000)) == " one"
    assert TOKENIZER.decode(ledger.cut(8_001)) == " four"
    assert ledger.cut(16_000) == []
    assert TOKENIZER.decode(ledger.cut(16_001)) == " five"


def test_a_cut_inside_a_word_removes_all_of_it() -> None:
    ledger = ledger_of((" untranslatability", 0), (" four", 8_000))
    assert TOKENIZER.decode(ledger.cut(320)) == " untranslatability"


@settings(deadline=None)
@given(st.lists(st.integers(0, 5_000), min_size=len(TOKENS), max_size=len(TOKENS)), st.integers(-10, 160_000))
def test_a_cut_parts_the_text_between_words(steps: list[int], sample: int) -> None:
    ledger = Ledger(TOKENIZER)
    samples = [sum(steps[:n]) for n in range(len(steps))]
    ledger.commit([LedgerToken(token, at, -0.1) for token, at in zip(TOKENS, samples, strict=True)])
    left = ledger.cut(sample)
    assert left + ledger.tokens == TOKENS
    assert all(at >= sample for at in samples[len(left) :])
    assert not ledger.tokens or TOKENIZER.starts_word(ledger.tokens[0])
    n_words_begun_before = sum(
        at < sample and TOKENIZER.starts_word(token) for token, at in zip(TOKENS, samples, strict=True)
    )
    assert sum(map(TOKENIZER.starts_word, left)) == n_words_begun_before


def test_the_best_cut_is_after_a_sentence() -> None:
    ledger = ledger_of((" one", 0), (" four.", 4_800), (" five", 12_800), (" six", 20_800))
    assert ledger.best_cut(0, 32_000) == (4_800 + 320 + 12_800) // 2 // 320 * 320


def test_the_best_cut_is_otherwise_in_the_longest_pause() -> None:
    ledger = ledger_of((" one", 0), (" four", 4_800), (" five", 14_400), (" six", 19_200))
    assert ledger.best_cut(0, 32_000) == 9_600


def test_a_long_pause_is_worth_more_than_a_sentence() -> None:
    ledger = ledger_of((" one.", 0), (" four", 4_800), (" five", 4_800 + 25_600))
    assert ledger.best_cut(0, 64_000) == 4_800 + 12_800


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60).map(lambda n: n * 320), min_size=len(TOKENS), max_size=len(TOKENS)),
    st.integers(0, 300).map(lambda n: n * 320),
    st.integers(0, 300).map(lambda n: n * 320),
)
def test_the_best_cut_stays_in_its_range_and_between_words(steps: list[int], earliest: int, more: int) -> None:
    ledger = Ledger(TOKENIZER)
    samples = [sum(steps[:n]) for n in range(len(steps))]
    ledger.commit([LedgerToken(token, at, -0.1) for token, at in zip(TOKENS, samples, strict=True)])
    cut = ledger.best_cut(earliest, earliest + more)
    assert earliest <= cut <= earliest + more
    assert cut % 320 == 0
    n_left = len(ledger.cut(cut))
    parts_a_word = n_left > 0 and samples[n_left - 1] > cut
    assert not parts_a_word or cut == earliest + more


def test_a_word_is_never_parted_by_the_best_cut() -> None:
    ledger = Ledger(TOKENIZER)
    ledger.commit(
        [LedgerToken(token, 8_000 * n, -0.1) for n, token in enumerate(TOKENIZER.encode(" untranslatability"))]
    )
    assert ledger.best_cut(640, 64_000) > (ledger.last_sample or 64_000)
