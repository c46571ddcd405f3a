"""A voice for tests: it says the words of the language of tones, in tones, so that the tone model hears them again."""

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simul_whisper import Voices
from tests.tones import FREQUENCIES_HZ, WORDS

TONE_S, GAP_S = 0.3, 0.2
_NUMBER = {word.strip().lower(): n for n, word in enumerate(WORDS)}


@dataclass
class ToneVoice:
    """A word takes half a second. It waits while it may not go on. said: what it was asked for, with the language."""

    rate: int = 22_050
    may_go_on: threading.Event = field(default_factory=threading.Event)
    said: list[tuple[str, str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    @property
    def description(self) -> str:
        return "tones"

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        self.said.append((text, language, speed))
        for word in re.findall(r"\S+", text):
            self.may_go_on.wait()
            yield self._tone(_NUMBER[word.lower()], speed)

    def _tone(self, word: int, speed: float) -> NDArray[np.float32]:
        n = round(TONE_S * self.rate / speed)
        time_s = np.arange(n) / self.rate
        fade = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (n / 10))
        tone = 0.3 * fade * np.sin(2 * np.pi * FREQUENCIES_HZ[word] * time_s)
        return np.concatenate([tone, np.zeros(round(GAP_S * self.rate / speed))]).astype(np.float32)


def voices_of(voice: ToneVoice, languages: Sequence[str] = ("en", "es", "de")) -> Voices:
    return Voices({"tones": lambda: voice}, dict.fromkeys(languages, "tones"))
