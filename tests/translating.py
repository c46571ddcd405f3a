"""A translator whose order of words is known: it tells the truth about what it reads, so an oracle can be asked."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from simul_whisper import ConfigError, Sentence, TargetToken, Word

Order = Callable[[int], list[int]]


def same(n: int) -> list[int]:
    return list(range(n))


def pairs_swapped(n: int) -> list[int]:
    """As an adjective and its noun."""
    return [min(i ^ 1, n - 1) if i + 1 < n or i % 2 else i for i in range(n)]


def verb_last(n: int) -> list[int]:
    return [*range(min(n, 1)), *range(2, n), *range(1, min(n, 2))]


def threes_reversed(n: int) -> list[int]:
    return [i for start in range(0, n, 3) for i in reversed(range(start, min(start + 3, n)))]


ORDERS: tuple[Order, ...] = (same, pairs_swapped, verb_last, threes_reversed)


def translation_of(words: Sequence[str], order: Order = same) -> list[TargetToken]:
    """Each word backwards, in two pieces, in another order."""
    tokens = list[TargetToken]()
    for position in order(len(words)):
        text = words[position].strip()[::-1]
        tokens += [TargetToken(f" {text[:1]}", position)] + [TargetToken(text[1:], position)] * bool(text[1:])
    return tokens


def text_of(tokens: Sequence[TargetToken]) -> str:
    return "".join(token.text for token in tokens)


def words_of(text: str, start_s: float = 0.0, language: str | None = "en") -> list[Word]:
    """Half a second for each."""
    return [
        Word(f" {each}", start_s + n / 2, start_s + n / 2 + 0.5, 1.0, language) for n, each in enumerate(text.split())
    ]


@dataclass
class Backwards:
    """Translates word by word. is_aligned: whether it tells what it reads."""

    order: Order = same
    is_aligned: bool = True
    asked: list[Sentence] = field(default_factory=list)

    @property
    def description(self) -> str:
        return "backwards"

    def check_pair(self, source: str, target: str) -> None:
        if "xx" in (source, target):
            raise ConfigError(f"got {source} to {target}, expected anything but xx")

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        self.asked.append(sentence)
        tokens, told = translation_of(sentence.words, self.order), ""
        n = 0
        while len(told) < len(sentence.told):
            told += tokens[n].text
            n += 1
        assert told == sentence.told, "what was told is not how the translation begins"
        return tuple(token if self.is_aligned else TargetToken(token.text) for token in tokens[n:])


@dataclass
class Held(Backwards):
    """Answers nothing before it may, and raises what it is told to."""

    may_answer: threading.Event = field(default_factory=threading.Event)
    is_asked: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        self.is_asked.set()
        self.may_answer.wait()
        if self.error:
            raise self.error
        return super().translate(sentence)
