"""A voice for tests of the wire: it says the words of the tones, also when they are shouted, at a rate of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simul_whisper import Voice, Voices
from streaming.audio.pcm import Resampler
from tests.speaking import ToneVoice


@dataclass
class LoudVoice(ToneVoice):
    rate = 22_050

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        for sound in super().speak(text.lower(), language, speed):
            yield Resampler(16_000, self.rate).feed(sound, is_last=True)


def voices_of(voice: Voice, languages: Sequence[str] = ("en", "es", "de")) -> Voices:
    return Voices({"tones": lambda: voice}, dict.fromkeys(languages, "tones"))
