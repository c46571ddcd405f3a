"""What every translator keeps, whatever runs it.

A backend is a function that returns an open translator, a pair of languages that it knows, and sentences of it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from simul_whisper import ConfigError, Sentence, TargetToken, Translator, open_translator
from tests.fixture_translator import CONFIG, held_out


@dataclass(frozen=True)
class Backend:
    """One way to translate. unknown: a language into which it does not."""

    opened: Callable[[], Translator]
    source: str
    target: str
    unknown: str
    sentences: Sequence[Sequence[str]]


BACKENDS = {"ctranslate2": Backend(lambda: open_translator(CONFIG), "en", "la", "ja", held_out(8))}


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]


@pytest.fixture(scope="module")
def translator(backend: Backend) -> Translator:
    return backend.opened()


def sentence(backend: Backend, words: Sequence[str], told: str = "", is_whole: bool = True) -> Sentence:
    return Sentence(backend.source, backend.target, tuple(words), told, is_whole)


def joined(tokens: Sequence[TargetToken]) -> str:
    return "".join(token.text for token in tokens)


def test_it_says_what_it_is(translator: Translator) -> None:
    assert translator.description.isprintable()
    assert translator.description


def test_a_whole_sentence_becomes_words(backend: Backend, translator: Translator) -> None:
    for words in backend.sentences:
        text = joined(translator.translate(sentence(backend, words)))
        assert len(text.split()) > 1
        assert text.isprintable()


def test_the_same_sentence_is_translated_alike(backend: Backend, translator: Translator) -> None:
    whole = sentence(backend, backend.sentences[0])
    assert translator.translate(whole) == translator.translate(whole)


def test_what_was_told_is_continued(backend: Backend, translator: Translator) -> None:
    """After any of its words, the rest of the translation follows, and after all of them nothing."""
    for words in backend.sentences[:3]:
        text = joined(translator.translate(sentence(backend, words)))
        told_words = [f" {word}" for word in text.split()]
        for n in range(1, len(told_words) + 1):
            told = "".join(told_words[:n])
            rest = joined(translator.translate(sentence(backend, words, told)))
            assert (told + rest).split() == text.split()


def test_source_words_are_of_the_sentence(backend: Backend, translator: Translator) -> None:
    for words in backend.sentences:
        for n in range(1, len(words) + 1):
            tokens = translator.translate(sentence(backend, words[:n], is_whole=n == len(words)))
            assert all(token.text for token in tokens)
            assert all(token.source_word is None or 0 <= token.source_word < n for token in tokens)


def test_a_pair_it_knows_and_one_it_does_not(backend: Backend, translator: Translator) -> None:
    translator.check_pair(backend.source, backend.target)
    with pytest.raises(ConfigError, match=backend.unknown) as refused:
        translator.check_pair(backend.source, backend.unknown)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("words", [(), (" ",), ("",)])
def test_of_nothing_nothing_is_told(backend: Backend, translator: Translator, words: Sequence[str]) -> None:
    assert translator.translate(sentence(backend, words)) == ()


def test_any_thread_may_ask(backend: Backend) -> None:
    translator = backend.opened()
    wanted = [sentence(backend, words) for words in backend.sentences] * 4
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(translator.translate, wanted))
    assert found == [translator.translate(each) for each in wanted]
