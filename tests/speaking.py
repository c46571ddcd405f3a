"""Voices of tones: the tone model hears again exactly what they say."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Voice, Voices
from streaming.audio.pcm import Resampler
from streaming.events import Event, Spoken, Words
from streaming.sessions.session import Session
from streaming.settings import VoiceConfig
from tests.tones import GAP_SAMPLES, TONE_SAMPLES, WORDS, speech_of, tone_model

_WORD_SAMPLES = TONE_SAMPLES + GAP_SAMPLES
WORD_S = _WORD_SAMPLES / SAMPLE_RATE
"""How long it takes over a word, at its own speed."""


@dataclass
class ToneVoice:
    """Says words of the tones, two at a time. asked: the text, language and speed of each call."""

    asked: list[tuple[str, str, float]] = field(default_factory=list)
    description = "tones"
    rate = SAMPLE_RATE

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        self.asked.append((text, language, speed))
        words = [WORDS.index(f" {each.strip('.?!')}") for each in text.split()]
        # A tone keeps its length, however fast it is asked for.
        gap_samples = max(0, round(_WORD_SAMPLES / speed) - TONE_SAMPLES)
        for start in range(0, len(words), 2):
            yield speech_of(words[start : start + 2], (gap_samples,)).samples

    @property
    def said(self) -> str:
        return " ".join(text for text, _, _ in self.asked)


@dataclass
class LoudVoice(ToneVoice):
    """Says also what is shouted, at a rate of no microphone or loudspeaker, so that everything is resampled."""

    rate = 22_050

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        for sound in super().speak(text.lower(), language, speed):
            yield Resampler(SAMPLE_RATE, self.rate).feed(sound, is_last=True)


@dataclass
class HeldVoice(ToneVoice):
    """Says nothing before it may, and raises what it is told to, after so many phrases of its own."""

    may_speak: threading.Event = field(default_factory=threading.Event)
    is_asked: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    n_before_error: int = 0

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        self.is_asked.set()
        self.may_speak.wait()
        for n, sound in enumerate(super().speak(text, language, speed)):
            if self.error and n == self.n_before_error:
                raise self.error
            yield sound


class ToneVoices(Voices):
    """One voice for these languages."""

    def __init__(self, voice: Voice | None = None, languages: Sequence[str] = ("en", "es", "de")) -> None:
        spoken = voice or ToneVoice()
        super().__init__({"tones": lambda: spoken}, dict.fromkeys(languages, "tones"))


def sound_of(events: Iterable[Event], target: str = "") -> NDArray[np.float32]:
    """What a listener hears of a target who plays it without a gap."""
    pcm = b"".join(each.pcm for each in events if isinstance(each, Spoken) and each.target == target)
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def heard_again(samples: NDArray[np.float32]) -> list[str]:
    """The words that the tone model hears in sound at 16 kHz."""
    config = AlignAttConfig(language="en", padding_len=1.0)
    session = Session(config, tone_model(), VoiceConfig(vad=False), drafts=False)
    events = [*session.feed(samples), *session.end()]
    return "".join(each.text for each in events if isinstance(each, Words)).split()
