"""The fixture translator against its oracle, and the oracle against what a simultaneous translator needs of it."""

import random
from collections.abc import Iterator

import pytest

from scripts.fixture_translator import language
from simul_whisper import TargetToken, Translator, open_translator
from tests.fixture_translator import CONFIG, DIRECTORY, by_oracle, fixture_sentence, held_out, joined


@pytest.fixture(scope="module")
def translator() -> Translator:
    return open_translator(CONFIG)


def words_of(tokens: tuple[TargetToken, ...]) -> Iterator[tuple[str, int]]:
    """Each word with the source word that its first piece was read from."""
    text, source_word = "", -1
    for token in tokens:
        if token.text.startswith(" ") and text:
            yield text, source_word
            text = ""
        if not text:
            assert token.source_word is not None
            source_word = token.source_word
        text += token.text
    yield text, source_word


def test_the_oracle_translates() -> None:
    words = language.translate("Today the old dogs do not see a cat near my house,".split())
    told = [(word.text, word.source_word) for word in words]
    assert told == [
        ("tomika", 3),
        ("vetuta", 3),
        ("wa", 3),
        ("miro", 8),
        ("lo", 8),
        ("domek", 11),
        ("menu", 11),
        ("apu", 11),
        ("hodi", 11),
        ("nek", 11),
        ("vidun,", 11),
    ]


def test_what_depends_on_words_before_the_last_stays_as_it_is() -> None:
    """So a policy that waits for one word more can tell it all, and one that waits for none tells verbs too early."""
    too_early = 0
    for words in held_out(500):
        whole = language.translate(words)
        for n in range(1, len(words)):
            cut = language.translate(words[:n])
            safe = [word for word in cut if word.source_word < n - 1]
            assert list(whole[: len(safe)]) == safe == list(cut[: len(safe)])
            too_early += whole[: len(cut)] != cut
    assert too_early > 500


def test_whole_sentences_are_translated_as_by_the_oracle(translator: Translator) -> None:
    pairs = [
        (got, wanted)
        for words in held_out(200)
        for got, wanted in zip(
            joined(translator.translate(fixture_sentence(words))).split(" "), by_oracle(words).split(" "), strict=False
        )
    ]
    assert sum(got == wanted for got, wanted in pairs) / len(pairs) > 0.999


def test_cut_sentences_are_translated_as_by_the_oracle(translator: Translator) -> None:
    rng = random.Random(5)
    found = []
    for words in held_out(200, seed=2):
        cut = words[: rng.randint(1, len(words))]
        found.append(joined(translator.translate(fixture_sentence(words, n=len(cut)))) == by_oracle(cut))
    assert sum(found) / len(found) > 0.995


def test_attention_tells_the_truth(translator: Translator) -> None:
    """Of each word, and of the word of a cut sentence that depends on where it was cut."""
    found = []
    for words in held_out(100, seed=3):
        for n in (len(words), max(1, len(words) // 2)):
            tokens = translator.translate(fixture_sentence(words, n=n))
            wanted = [(f" {word.text}", word.source_word) for word in language.translate(words[:n])]
            found += [got == each for got, each in zip(words_of(tokens), wanted, strict=False)]
    assert sum(found) / len(found) > 0.995


def test_the_model_is_small() -> None:
    assert sum(file.stat().st_size for file in DIRECTORY.iterdir()) < 3_000_000
