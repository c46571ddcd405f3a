"""Piper's voices: an .onnx file of VITS (arXiv 2106.06103) with its settings beside it, in .onnx.json.

The front of the graph, from phonemes to features, runs in ONNX Runtime; a vocoder makes sound of the features.
"""

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import ConfigError, VocoderError, VoiceError
from simul_whisper.fallback import BackendStatus, ChangingPart
from simul_whisper.foreign_files import one_line, shown
from simul_whisper.vocoders import AudioVocoder
from simul_whisper.vocoders.voice_file import SplitVoice, split_voice
from simul_whisper.voices.espeak import Espeak
from simul_whisper.voices.piper_settings import BETWEEN, END, START, PiperSettings, read_settings, settings_path
from simul_whisper.voices.reading import check_speed, instead_of, phrases_read, trimmed
from simul_whisper.voices.runner import Runner

# What a front takes at once, which is as long as two phrases are at most; its memory grows with the square of it.
_MOST_PHONEMES = 400
_MOST_SECONDS = 120
# Without it, sound begins in the middle of a consonant: "Spain" of the voice joe is heard as "Thane" half of the time.
_PAUSE = (",", " ")
# The front rounds the length of each phoneme up to whole frames, which makes this share of what is said at speed 1.
_ROUNDED_UP = 0.23


class PiperVoice:
    """A voice of one language. speaker: the number of one of its speakers."""

    def __init__(
        self,
        name: str,
        settings: PiperSettings,
        parts: SplitVoice,
        vocoder: AudioVocoder,
        *,
        speaker: int = 0,
        chance: float = 1.0,
    ) -> None:
        self._settings, self.vocoder = settings, vocoder
        self._espeak = Espeak(settings.espeak_voice) if settings.espeak_voice else None
        self._front = Runner(parts.front, name)
        self._takes_speaker = "sid" in self._front.inputs
        self._speaker, self._chance = speaker, chance
        self._name, self._most_frames = name, _MOST_SECONDS * vocoder.rate // parts.vocoder.hop

    @property
    def description(self) -> str:
        return f"{self._name}, vocoder {self.vocoder.description}"

    @property
    def rate(self) -> int:
        return self.vocoder.rate

    @property
    def status(self) -> BackendStatus | None:
        """What runs the vocoder, which may change; None for one that cannot."""
        return self.vocoder.status if isinstance(self.vocoder, ChangingPart) else None

    @property
    def languages(self) -> tuple[str, ...]:
        return (self._settings.language,)

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        if language not in self.languages:
            raise VoiceError(f"{self._name} speaks {self._settings.language}, got a text in {language}")
        check_speed(speed)
        phonemes = self._espeak.phonemes if self._espeak else _letters
        for phrase in phrases_read(text, language, phonemes, _MOST_PHONEMES):
            if ids := self._ids(phrase):
                yield self._spoken(ids, speed)

    def _ids(self, phonemes: str) -> list[int]:
        """Return the numbers of phonemes, with those of start, end and what stands between; none for no known ones."""
        known = self._settings.ids
        replaced = (each for one in phonemes for each in self._settings.replaced.get(one, (one,)))
        said = [each for one in replaced for each in instead_of(one, known)]
        if not any(map(str.isalpha, said)):
            return []
        if all(each in known for each in _PAUSE):
            said = [*_PAUSE, *said]
        between = known[BETWEEN]
        return [*known[START], *between, *(n for each in said for n in (*known[each], *between)), *known[END]]

    def _spoken(self, ids: list[int], speed: float) -> NDArray[np.float32]:
        settings = self._settings
        length = settings.length * (1 / speed - _ROUNDED_UP) / (1 - _ROUNDED_UP)
        scales = [settings.noise * self._chance, length, settings.noise_of_lengths * self._chance]
        inputs: dict[str, NDArray[Any]] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if self._takes_speaker:
            inputs["sid"] = np.array([self._speaker], np.int64)
        features = self._front.run(inputs)
        if features.ndim != 3 or features.shape[0] != 1 or features.shape[2] > self._most_frames:
            raise VoiceError(f"{self._name}: got features of shape {features.shape}, expected those of one phrase")
        try:
            samples = self.vocoder.decode(np.ascontiguousarray(features[0].T))
        except VocoderError as error:
            raise VoiceError(f"{self._name}: {error}") from error
        return trimmed(samples, self.rate)


def _letters(text: str) -> str:
    return unicodedata.normalize("NFD", text.casefold()).strip()


def open_piper(
    path: Path, vocoder_of: Callable[[Path, SplitVoice], AudioVocoder], speaker: str = "", *, chance: float = 1.0
) -> PiperVoice:
    """Return the voice of an .onnx file with its .onnx.json beside it.

    vocoder_of: makes its vocoder. speaker: a name or a number; empty for the first. chance: 0 makes it say the same
    every time. Raises ConfigError for a speaker that it has not, BackendError without espeak-ng, ModelError and
    VocoderError.
    """
    settings = read_settings(settings_path(path))
    n = _number_of(speaker, settings)
    if n is None:
        names = ", ".join(settings.speakers) or f"0 to {settings.n_speakers - 1}"
        raise ConfigError(f"got speaker {shown(speaker)} of {path.name}, expected one of {one_line(names)}")
    parts = split_voice(path)
    return PiperVoice(path.stem, settings, parts, vocoder_of(path, parts), speaker=n, chance=chance)


def _number_of(speaker: str, settings: PiperSettings) -> int | None:
    """Return the number of a speaker, who may be given by it; None for one that there is not."""
    if not speaker or speaker in settings.speakers:
        return settings.speakers.get(speaker, 0)
    is_number = speaker.isdecimal() and len(speaker) <= len(str(settings.n_speakers))
    return int(speaker) if is_number and int(speaker) < settings.n_speakers else None
