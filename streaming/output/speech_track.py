"""A WAV file of what is spoken, on the clock of the recording that it is spoken for.

Speech begins when its text was known, or after the speech before it. The file grows with the recording, and is whole at
any moment.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, ConfigError, as_s16, from_s16
from streaming.audio.pcm import Resampler
from streaming.audio.wave_file import WaveFile
from streaming.events import Event, SpeechSkipped, Spoken
from streaming.output.durable import OutputError

RATE = 24_000
"""Samples per second of the files: those of most voices."""

# The original underneath: 16 dB lower, so that both can be told apart.
_UNDERNEATH = 10 ** (-16 / 20)


class SpeechTrack:
    """s16le, mono. target: whose speech. is_over: whether the original is heard underneath.

    Raises ConfigError when the file cannot be made, and OutputError when it cannot be written any more.
    """

    def __init__(self, path: Path, target: str, *, is_over: bool = False) -> None:
        self.path, self.target = path, target
        try:
            self._file = WaveFile(path, RATE)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
        # What follows the samples written: speech, and the original.
        self._speech = self._original = np.zeros(0, np.float32)
        self._voice: Resampler | None = None
        self._hearing = Resampler(SAMPLE_RATE, RATE) if is_over else None

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Take what follows of the original: float32 (n,), mono, 16 kHz, in [-1, 1]."""
        if self._hearing:
            self._original = np.concatenate([self._original, _UNDERNEATH * self._hearing.feed(samples)])

    def feed(self, event: Event, known_s: float) -> None:
        """Take an event that was known at this time of the recording; of this target's speech, its sound."""
        if isinstance(event, Spoken) and event.target == self.target:
            sound = from_s16(event.pcm)
            self._say(self._resampled(sound, event.rate, is_last=event.is_last), known_s)
        elif isinstance(event, SpeechSkipped) and event.target == self.target:
            self._end_sentence(known_s)

    def write_until(self, heard_s: float) -> None:
        """Write what is heard before this time of the recording: no speech will begin there any more."""
        n = round(heard_s * RATE) - self._file.n_samples
        if self._hearing:
            n = min(n, len(self._original))
        if n > 0:
            self._write(_first(self._speech, n) + _first(self._original, n))
            self._speech, self._original = self._speech[n:], self._original[n:]

    def end(self) -> None:
        """Write the rest: the speech, and the original where that is longer."""
        self._end_sentence(0.0)
        if self._hearing:
            rest = self._hearing.feed(np.zeros(0, np.float32), is_last=True)
            self._original, self._hearing = np.concatenate([self._original, _UNDERNEATH * rest]), None
        n = max(len(self._speech), len(self._original))
        self.write_until((self._file.n_samples + n) / RATE)

    def close(self) -> None:
        """Close the file; it holds what was written."""
        self._file.close()

    def _say(self, sound: NDArray[np.float32], known_s: float) -> None:
        if len(sound):
            n_silent = max(0, round(known_s * RATE) - self._file.n_samples - len(self._speech))
            self._speech = np.concatenate([self._speech, np.zeros(n_silent, np.float32), sound])

    def _resampled(self, sound: NDArray[np.float32], rate: int, *, is_last: bool) -> NDArray[np.float32]:
        """Keep one resampler for a sentence, so that its pieces have no seams."""
        if self._voice is None or self._voice.rate != rate:
            self._voice = Resampler(rate, RATE)
        resampled = self._voice.feed(sound, is_last=is_last)
        if is_last:
            self._voice = None
        return resampled

    def _end_sentence(self, known_s: float) -> None:
        """A sentence that has no end is over."""
        if self._voice:
            self._say(self._voice.feed(np.zeros(0, np.float32), is_last=True), known_s)
            self._voice = None

    def _write(self, samples: NDArray[np.float32]) -> None:
        try:
            self._file.write(as_s16(samples).tobytes())
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error


def _first(samples: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the first n samples, with silence where there are fewer."""
    return np.pad(samples[:n], (0, max(0, n - len(samples))))
