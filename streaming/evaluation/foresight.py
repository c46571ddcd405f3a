"""How soon the words of a recording could have been told: the bound that the delay of a policy is compared with.

A policy that takes no word back, and is to tell what the model reads in the whole recording, cannot tell a word before
the model reads it, and all words before it, like that. Only afterwards is it known when that was: hence foresight. Each
reading is made anew; with words already written in front of it, one may differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, PaddedAlignAttWhisper, Word
from streaming.evaluation.scoring import CHARACTER_LANGUAGES

# First letters of Unicode's categories; vowels are marks in some scripts.
_LETTERS_DIGITS_MARKS = "LNM"
# The longest window that is read at once.
_WINDOW_S = 30.0


@dataclass(frozen=True)
class ForeseenWord:
    """A word of the reading of a whole recording. Times in seconds on the audio's clock.

    end_s: its own end; chunk_s: the end of the chunk that holds that; earliest_s: the end of the first chunk after
    which the model reads it, and all words before it, as in the last reading.
    """

    text: str
    end_s: float
    chunk_s: float
    earliest_s: float


@dataclass(frozen=True)
class Reading:
    """What the model reads in the first `audio_s` seconds, known at once."""

    audio_s: float
    words: tuple[Word, ...]


def foreseen(samples: NDArray[np.float32], model: Model, config: AlignAttConfig) -> tuple[ForeseenWord, ...] | None:
    """Read a recording anew after every chunk, in windows as short as the config allows.

    samples: float32 (n,), 16 kHz mono. None for more than 30 s, which no window holds.
    """
    if len(samples) > _WINDOW_S * SAMPLE_RATE:
        return None
    return tuple(earliest([*_readings(samples, model, replace(config, audio_max_len=_WINDOW_S))]))


def _readings(samples: NDArray[np.float32], model: Model, config: AlignAttConfig) -> Iterator[Reading]:
    n_chunk = round(config.segment_length * SAMPLE_RATE)
    for n_samples in (*range(n_chunk, len(samples), n_chunk), len(samples)):
        whisper = PaddedAlignAttWhisper(config, model)
        whisper.insert_audio(samples[:n_samples])
        yield Reading(n_samples / SAMPLE_RATE, whisper.infer(is_last=True).words)


def earliest(readings: Sequence[Reading]) -> Iterator[ForeseenWord]:
    """Yield the words of the last reading; the readings are of ever more audio. Case and punctuation do not count."""
    final = readings[-1]
    told = [_sounds(reading.words) for reading in readings]
    n = 0
    for i, word in enumerate(final.words):
        prefix = _sounds(final.words[: i + 1])
        while told[n][: len(prefix)] != prefix:
            n += 1
        end_s = min(word.end_s, final.audio_s)
        chunk_s = next(reading.audio_s for reading in readings if reading.audio_s >= end_s)
        yield ForeseenWord(word.text, end_s, chunk_s, readings[n].audio_s)


def _sounds(words: Sequence[Word]) -> list[str]:
    """Return what is heard of the words: their letters, one by one where no spaces part words, or nothing."""
    heard = list[str]()
    for word in words:
        letters = "".join(each for each in word.text.casefold() if category(each)[0] in _LETTERS_DIGITS_MARKS)
        heard += letters if word.language in CHARACTER_LANGUAGES else [letters]
    return [each for each in heard if each]
