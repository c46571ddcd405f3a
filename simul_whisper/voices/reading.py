"""What all voices do alike: from a text to the phonemes of its phrases, and short silence around each."""

import math
from collections.abc import Callable, Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import VoiceError
from simul_whisper.voices.phrases import phrases
from simul_whisper.voices.spoken_text import speakable

# The settings go from half to four times as fast, together.
_LEAST_SPEED, _MOST_SPEED = 0.25, 4.0
# Kokoro has 0.4 s of silence at both ends of all that it says, which would tear phrases apart.
_SILENT = 0.004
_LEAD_S, _TAIL_S = 0.05, 0.15
_INSTEAD = {"—": ";", "…": ".", "ɡ": "g", "g": "ɡ"}


def phrases_read(text: str, language: str, phonemes: Callable[[str], str], most: int) -> Iterator[str]:
    """Yield the phonemes of each phrase of a text; of a phrase with more than that many, in pieces.

    phonemes: reads a phrase. Raises VoiceError.
    """
    for phrase in phrases(speakable(text, language), language):
        yield from _pieces(phonemes(phrase), most)


def _pieces(phonemes: str, most: int) -> Iterator[str]:
    while len(phonemes) > most:
        # No word has so many phonemes that this finds no space, but for what is no word.
        at = phonemes.rfind(" ", 1, most) if " " in phonemes[1:most] else most
        yield phonemes[:at]
        phonemes = phonemes[at:].lstrip()
    if phonemes:
        yield phonemes


def instead_of(phoneme: str, known: Collection[str]) -> tuple[str, ...]:
    """Return a phoneme as a voice knows it; nothing for one that it does not."""
    return tuple(each for each in (phoneme, _INSTEAD.get(phoneme, phoneme)) if each in known)[:1]


def check_speed(speed: float) -> None:
    """Raise VoiceError for a speed that no voice can speak at."""
    if not (math.isfinite(speed) and _LEAST_SPEED <= speed <= _MOST_SPEED):
        raise VoiceError(f"got speed {speed}, expected {_LEAST_SPEED:g} to {_MOST_SPEED:g}")


def trimmed(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Return samples within [-1, 1], with little silence at both ends. Raises VoiceError for what is no sound."""
    if not np.isfinite(samples).all():
        raise VoiceError("the voice gave samples that are NaN or infinite")
    heard = np.flatnonzero(np.abs(samples) > _SILENT)
    if not len(heard):
        return np.zeros(0, np.float32)
    start, end = max(0, heard[0] - round(_LEAD_S * rate)), heard[-1] + round(_TAIL_S * rate)
    return np.clip(samples[start:end], -1, 1)
