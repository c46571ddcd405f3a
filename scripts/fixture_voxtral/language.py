"""A language of chords, and how it is spoken: what was said, and when, is known exactly.

A word is a chord of a low and a high tone, as on the keys of a telephone, and no word comes again before many others
have been said. It is spoken in English or in German; Germans hum along.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simul_whisper.audio import SAMPLE_RATE, Samples

ENGLISH = (
    "one four five seven nine red blue green house water river stone light garden window paper music bird "
    "supermarket untranslatable morning evening winter summer butterfly mountain forest bridge letter yellow"
).split()
GERMAN = (
    "eins vier fünf sieben neun rot blau grün haus wasser fluss stein licht garten fenster papier musik vogel "
    "supermarkt unübersetzbar morgen abend winter sommer schmetterling gebirge wald brücke brief gelb"
).split()
WORDS = {"en": ENGLISH, "de": GERMAN}
_LOW_HZ = (420, 540, 690, 880, 1120)
_HIGH_HZ = (1600, 1950, 2380, 2900, 3540, 4320)
_HUM_HZ = 210
N_WORDS = len(_LOW_HZ) * len(_HIGH_HZ)
_OTHERS_BETWEEN = 25
SHORTEST_SAMPLES, LONGEST_SAMPLES = 4_000, 6_400
_SHORTEST_GAP, _LONGEST_GAP = 2_400, 4_800
_PAUSE_SAMPLES, _PAUSE_PART = 12_000, 0.08
_FADE_SAMPLES = 320


@dataclass(frozen=True)
class Speech:
    """words: numbers of words; spans: the samples where the sound of each begins and ends; n_samples: of all."""

    language: str
    words: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    n_samples: int
    loudness: float
    noise_seed: int

    @cached_property
    def samples(self) -> Samples:
        """Return how it sounds, float32 (n_samples,)."""
        noise = np.random.default_rng(self.noise_seed).standard_normal(self.n_samples)
        samples = np.zeros(self.n_samples, np.float32)
        for word, (start, end) in zip(self.words, self.spans, strict=True):
            samples[start:end] = _chord(word, self.language, end - start)
        return (self.loudness * samples + 3e-4 * noise).astype(np.float32)

    @property
    def text(self) -> str:
        return text_of(self.language, self.words)


def text_of(language: str, words: Iterable[int]) -> str:
    return " ".join(WORDS[language][word] for word in words)


def random_words(rng: random.Random, n: int) -> list[int]:
    """Words in no order, none of them again before others have been said."""
    words = list[int]()
    for _ in range(n):
        lately = words[max(0, len(words) - _OTHERS_BETWEEN) :]
        words.append(rng.choice([word for word in range(N_WORDS) if word not in lately]))
    return words


def spoken(rng: random.Random, language: str, words: Sequence[int]) -> Speech:
    """Speak words, fast or slowly, with pauses, and with some noise."""
    at, spans = rng.randrange(1_600, 9_600), list[tuple[int, int]]()
    for _ in words:
        length = rng.randrange(SHORTEST_SAMPLES, LONGEST_SAMPLES)
        spans.append((at, at + length))
        at += length + rng.randrange(_SHORTEST_GAP, _LONGEST_GAP)
        at += _PAUSE_SAMPLES if rng.random() < _PAUSE_PART else 0
    noise_seed = rng.randrange(1 << 30)
    return Speech(language, tuple(words), tuple(spans), at, rng.uniform(0.15, 0.4), noise_seed)


def _chord(word: int, language: str, length: int) -> Samples:
    low, high = divmod(word, len(_HIGH_HZ))
    time_s = np.arange(length) / SAMPLE_RATE
    fade = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / _FADE_SAMPLES)
    pitches = [_LOW_HZ[low], _HIGH_HZ[high], *([_HUM_HZ] if language == "de" else [])]
    waves = sum(np.sin(2 * np.pi * hz * time_s) for hz in pitches)
    return np.asarray(0.5 * fade * waves, np.float32)
