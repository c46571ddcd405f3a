"""A real model is told word by word what is said: what it tells, and when, against the oracle of its language."""

from collections.abc import Sequence

import pytest

from scripts.fixture_translator import language
from simul_whisper import SimultaneousTranslation, Translator, Word, open_translator
from tests.fixture_translator import CONFIG, held_out

N_SENTENCES = 200


@pytest.fixture(scope="module")
def translator() -> Translator:
    return open_translator(CONFIG)


def told(translator: Translator, words: Sequence[str], threshold: int) -> list[tuple[str, int]]:
    """Each word of the translation, and how many words had been said when it was told."""
    text, found = SimultaneousTranslation(language.TARGET, threshold), list[tuple[str, int]]()
    for n, word in enumerate(words):
        text.hear([Word(word, n / 2, n / 2 + 0.5, 1.0, language.SOURCE)])
        if n + 1 == len(words):
            text.end_sentence()
        while request := text.next_request():
            for each in text.take(request, translator.translate(request.sentence)):
                found += [(word.text.strip(), n + 1) for word in each.words]
    return found


def expected(words: Sequence[str], threshold: int) -> list[tuple[str, int]]:
    """The same of the oracle, which tells a word once what it depends on is not among the last words."""
    found, n_said = list[tuple[str, int]](), 0
    for word in language.translate(words):
        n_said = max(n_said, min(len(words), word.source_word + 1 + threshold))
        found.append((word.text, n_said))
    return found


@pytest.mark.parametrize("threshold", [1, 2])
def test_the_words_of_the_oracle_are_told_at_most_one_word_later(translator: Translator, threshold: int) -> None:
    n_right = n_in_time = n_words = 0
    for words in held_out(N_SENTENCES):
        got, wanted = told(translator, words, threshold), expected(words, threshold)
        right = [(g[1], w[1]) for g, w in zip(got, wanted, strict=False) if g[0] == w[0]]
        n_right += len(right)
        n_in_time += sum(got_at <= wanted_at + 1 for got_at, wanted_at in right)
        n_words += max(len(got), len(wanted))
    assert n_words > 2_000
    assert n_right / n_words >= 0.99
    assert n_in_time == n_right


def test_without_waiting_verbs_are_told_too_early(translator: Translator) -> None:
    """What the threshold is for; without it the test above would say nothing."""
    wrong = 0
    for words in held_out(50):
        wrong += [word for word, _ in told(translator, words, 0)] != [word for word, _ in expected(words, 0)]
    assert wrong > 40
