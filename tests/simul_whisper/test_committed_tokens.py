"""Tokens leave the window in whole words, with the audio they were read from."""

from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.committed_tokens import CommittedToken, CommittedTokens
from tests.fakes import tokenizer_of

TOKENIZER = tokenizer_of("base")
TEXT = " The untranslatability of supercalifragilistic words. It is known! Is it?"
TOKENS = TOKENIZER.encode(TEXT)


def tokens_of(*timed: tuple[str, int]) -> CommittedTokens:
    """Committed tokens of words; their tokens are read a frame apart from the sample on."""
    committed = CommittedTokens(TOKENIZER)
    for text, sample in timed:
        tokens = TOKENIZER.encode(text)
        committed.commit([CommittedToken(token, sample + 320 * n, -0.1) for n, token in enumerate(tokens)])
    return committed


def test_an_empty_ledger() -> None:
    committed = CommittedTokens(TOKENIZER)
    assert (len(committed), committed.tokens, committed.last_sample) == (0, [], None)
    assert committed.cut(1000) == committed.cut_all() == []
    assert committed.best_cut(320, 640) == 320


def test_what_is_committed_is_kept_in_order() -> None:
    committed = tokens_of((" one", 0), (" four", 8_000))
    assert TOKENIZER.decode(committed.tokens) == " one four"
    assert (len(committed), committed.last_sample) == (2, 8_000)
    assert TOKENIZER.decode(committed.cut_all()) == " one four"
    assert len(committed) == 0


def test_a_cut_removes_what_was_read_before_it() -> None:
    committed = tokens_of((" one", 0), (" four", 8_000), (" five", 16_000))
    assert TOKENIZER.decode(committed.cut(8_000)) == " one"
    assert TOKENIZER.decode(committed.cut(8_001)) == " four"
    assert committed.cut(16_000) == []
    assert TOKENIZER.decode(committed.cut(16_001)) == " five"


def test_a_cut_inside_a_word_removes_all_of_it() -> None:
    committed = tokens_of((" untranslatability", 0), (" four", 8_000))
    assert TOKENIZER.decode(committed.cut(320)) == " untranslatability"


@settings(deadline=None)
@given(st.lists(st.integers(0, 5_000), min_size=len(TOKENS), max_size=len(TOKENS)), st.integers(-10, 160_000))
def test_a_cut_parts_the_text_between_words(steps: list[int], sample: int) -> None:
    committed = CommittedTokens(TOKENIZER)
    samples = [sum(steps[:n]) for n in range(len(steps))]
    committed.commit([CommittedToken(token, at, -0.1) for token, at in zip(TOKENS, samples, strict=True)])
    left = committed.cut(sample)
    assert left + committed.tokens == TOKENS
    assert all(at >= sample for at in samples[len(left) :])
    assert not committed.tokens or TOKENIZER.starts_word(committed.tokens[0])
    n_words_begun_before = sum(
        at < sample and TOKENIZER.starts_word(token) for token, at in zip(TOKENS, samples, strict=True)
    )
    assert sum(map(TOKENIZER.starts_word, left)) == n_words_begun_before


def test_the_best_cut_is_after_a_sentence() -> None:
    committed = tokens_of((" one", 0), (" four.", 4_800), (" five", 12_800), (" six", 20_800))
    assert committed.best_cut(0, 32_000) == (4_800 + 320 + 12_800) // 2 // 320 * 320


def test_the_best_cut_is_otherwise_in_the_longest_pause() -> None:
    committed = tokens_of((" one", 0), (" four", 4_800), (" five", 14_400), (" six", 19_200))
    assert committed.best_cut(0, 32_000) == 9_600


def test_a_long_pause_is_worth_more_than_a_sentence() -> None:
    committed = tokens_of((" one.", 0), (" four", 4_800), (" five", 4_800 + 25_600))
    assert committed.best_cut(0, 64_000) == 4_800 + 12_800


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60).map(lambda n: n * 320), min_size=len(TOKENS), max_size=len(TOKENS)),
    st.integers(0, 300).map(lambda n: n * 320),
    st.integers(0, 300).map(lambda n: n * 320),
)
def test_the_best_cut_stays_in_its_range_and_between_words(steps: list[int], earliest: int, more: int) -> None:
    committed = CommittedTokens(TOKENIZER)
    samples = [sum(steps[:n]) for n in range(len(steps))]
    committed.commit([CommittedToken(token, at, -0.1) for token, at in zip(TOKENS, samples, strict=True)])
    cut = committed.best_cut(earliest, earliest + more)
    assert earliest <= cut <= earliest + more
    assert cut % 320 == 0
    n_left = len(committed.cut(cut))
    parts_a_word = n_left > 0 and samples[n_left - 1] > cut
    assert not parts_a_word or cut == earliest + more


def test_a_word_is_never_parted_by_the_best_cut() -> None:
    committed = CommittedTokens(TOKENIZER)
    committed.commit(
        [CommittedToken(token, 8_000 * n, -0.1) for n, token in enumerate(TOKENIZER.encode(" untranslatability"))]
    )
    assert committed.best_cut(640, 64_000) > (committed.last_sample or 64_000)
