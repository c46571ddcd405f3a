"""The fixture translator: a small model of a made-up pair of languages, of which every translation is known.

`scripts.fixture_translator` trained it, and its `language` is the oracle.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from scripts.fixture_translator import language
from simul_whisper import Sentence, TargetToken, TranslationConfig

DIRECTORY = Path(__file__).parent / "data" / "translator"
CONFIG = TranslationConfig(model=str(DIRECTORY))


def held_out(n: int, seed: int = 20_260_101) -> list[tuple[str, ...]]:
    """Sentences that were not chosen to be learned from, as words with leading spaces."""
    rng = random.Random(seed)
    return [language.sentence(rng) for _ in range(n)]


def fixture_sentence(words: Sequence[str], told: str = "", n: int | None = None) -> Sentence:
    """The first n words of a sentence; without n, the whole of it."""
    n = len(words) if n is None else n
    return Sentence(language.SOURCE, language.TARGET, tuple(words[:n]), told, is_whole=n == len(words))


def joined(tokens: Sequence[TargetToken]) -> str:
    return "".join(token.text for token in tokens)


def by_oracle(words: Sequence[str]) -> str:
    """The translation, with a space before each word."""
    return "".join(f" {word.text}" for word in language.translate(words))
