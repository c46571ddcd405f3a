"""What every translator keeps, whatever runs it."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import pytest

from simul_whisper import ConfigError, Sentence, TargetToken, TranslationConfig, Translator, open_translator
from tests.fixture_translator import CONFIG, held_out
from tests.simul_whisper.translators.chat_server import Asked, serving, streamed


@dataclass(frozen=True)
class Backend:
    """One way to translate. unknown: a language into which it does not. program: what must be installed."""

    config: Callable[[], AbstractContextManager[TranslationConfig]]
    target: str
    unknown: str
    program: str = ""
    source: str = "en"


SENTENCES = held_out(8)


@contextmanager
def fixture() -> Iterator[TranslationConfig]:
    yield CONFIG


@contextmanager
def apertium() -> Iterator[TranslationConfig]:
    yield TranslationConfig(backend="apertium", timeout=60)


@contextmanager
def chat() -> Iterator[TranslationConfig]:
    """A server whose model says each word backwards."""

    def reply(asked: Asked, writer: BinaryIO, over: threading.Event) -> None:
        (text,) = re.findall(r"<text>([^<]*)</text>", asked.question["messages"][-1]["content"])[-1:]
        streamed(" ".join(word[::-1] for word in text.split()))(asked, writer, over)

    with serving(reply) as server:
        yield TranslationConfig(url=server.url, model="m", timeout=60)


BACKENDS = {
    "ctranslate2": Backend(fixture, "la", "ja"),
    "apertium": Backend(apertium, "es", "ja", program="apertium"),
    "openai": Backend(chat, "es", "xx"),
}


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen = BACKENDS[request.param]
    if chosen.program and not shutil.which(chosen.program):
        pytest.skip(f"{chosen.program} is not installed")
    return chosen


@pytest.fixture(scope="module")
def translator(backend: Backend) -> Iterator[Translator]:
    with backend.config() as config:
        opened = open_translator(config)
        try:
            opened.check_pair(backend.source, backend.target)
        except ConfigError as error:
            if not backend.program:
                raise
            pytest.skip(f"{backend.program} has no such languages: {error}")
        yield opened


def sentence(backend: Backend, words: Sequence[str], told: str = "", is_whole: bool = True) -> Sentence:
    return Sentence(backend.source, backend.target, tuple(words), told, is_whole)


def joined(tokens: Sequence[TargetToken]) -> str:
    return "".join(token.text for token in tokens)


def test_it_says_what_it_is(translator: Translator) -> None:
    assert translator.description.isprintable()
    assert translator.description


def test_a_whole_sentence_becomes_words(backend: Backend, translator: Translator) -> None:
    for words in SENTENCES:
        text = joined(translator.translate(sentence(backend, words)))
        assert len(text.split()) > 1
        assert text.isprintable()


def test_the_same_sentence_is_translated_alike(backend: Backend, translator: Translator) -> None:
    whole = sentence(backend, SENTENCES[0])
    assert translator.translate(whole) == translator.translate(whole)


def test_what_was_told_is_continued(backend: Backend, translator: Translator) -> None:
    """After any of its words, the rest of the translation follows, and after all of them nothing."""
    for words in SENTENCES[:3]:
        text = joined(translator.translate(sentence(backend, words)))
        told_words = [f" {word}" for word in text.split()]
        for n in range(1, len(told_words) + 1):
            told = "".join(told_words[:n])
            rest = joined(translator.translate(sentence(backend, words, told)))
            assert (told + rest).split() == text.split()


def test_source_words_are_of_the_sentence(backend: Backend, translator: Translator) -> None:
    for words in SENTENCES:
        for n in range(1, len(words) + 1):
            tokens = translator.translate(sentence(backend, words[:n], is_whole=n == len(words)))
            assert all(token.text for token in tokens)
            assert all(token.source_word is None or 0 <= token.source_word < n for token in tokens)


def test_a_pair_it_knows_and_one_it_does_not(backend: Backend, translator: Translator) -> None:
    translator.check_pair(backend.source, backend.target)
    with pytest.raises(ConfigError) as refused:
        translator.check_pair(backend.source, backend.unknown)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("words", [(), (" ",), ("",)])
def test_of_nothing_nothing_is_told(backend: Backend, translator: Translator, words: Sequence[str]) -> None:
    assert translator.translate(sentence(backend, words)) == ()


def test_any_thread_may_ask(backend: Backend, translator: Translator) -> None:
    wanted = [sentence(backend, words) for words in SENTENCES] * 4
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(translator.translate, wanted))
    assert found == [translator.translate(each) for each in wanted]
