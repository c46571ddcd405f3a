"""A voice whose words are those of the tone model, which therefore hears exactly what it says."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from simul_whisper import BackendStatus, ConfigError, Voice
from tests.tones import WORDS, speech_of

# Not that of any microphone or loudspeaker, so that everything is resampled.
RATE = 22_050


class ToneVoice:
    """Speaks the words of tones, each for 0.3 s, a phrase at a time."""

    description, rate = "tones", RATE

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:  # noqa: ARG002
        words = [WORDS.index(f" {word}") for word in text.split() if f" {word}" in WORDS]
        if words:
            sound = speech_of(words).samples
            at = np.arange(round(len(sound) * RATE / 16_000)) * 16_000 / RATE
            yield np.interp(at, np.arange(len(sound)), sound).astype(np.float32)


class ToneVoices:
    """A voice for English and Spanish."""

    languages = ("en", "es")

    def voice(self, language: str) -> Voice:
        if language not in self.languages:
            raise ConfigError(f"no voice speaks {language} here")
        return ToneVoice()

    def status(self, language: str) -> BackendStatus | None:  # noqa: ARG002
        return None
