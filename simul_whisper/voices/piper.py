"""Piper's voices: an .onnx file of VITS (arXiv 2106.06103) with its settings beside it, in .onnx.json.

The front of the graph, from phonemes to features, runs in ONNX Runtime; a vocoder makes sound of the features.
"""

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import ConfigError, VocoderError, VoiceError, WeightsError
from simul_whisper.foreign_files import one_line, read_json, shown
from simul_whisper.languages import language_code
from simul_whisper.vocoders import AudioVocoder
from simul_whisper.vocoders.voice_file import SplitVoice
from simul_whisper.voices.espeak import Espeak
from simul_whisper.voices.reading import check_speed, instead_of, phrases_read, trimmed
from simul_whisper.voices.runner import Runner

_START, _END, _BETWEEN = "^", "$", "_"
_MOST_SYMBOLS, _MOST_IDS, _MOST_ID, _MOST_SPEAKERS = 4096, 8, 1 << 16, 1 << 16
# What a front takes at once, which is as long as two phrases are at most; its memory grows with the square of it.
_MOST_PHONEMES = 400
_MOST_SECONDS = 120


@dataclass(frozen=True)
class PiperSettings:
    """What an .onnx.json says.

    ids: of each phoneme. replaced: phonemes that are spoken as others. espeak_voice: None where letters themselves are
    the phonemes. length: of its speech, as a multiple; noise, noise_of_lengths: how much chance there is in it.
    speakers: their numbers by name; empty where there is one.
    """

    language: str
    ids: Mapping[str, tuple[int, ...]]
    replaced: Mapping[str, tuple[str, ...]]
    espeak_voice: str | None
    noise: float
    length: float
    noise_of_lengths: float
    n_speakers: int
    speakers: Mapping[str, int]


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
    def languages(self) -> tuple[str, ...]:
        return (self._settings.language,)

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        if language not in self.languages:
            raise VoiceError(f"{self._name} speaks {self._settings.language}, got a text in {language}")
        check_speed(speed)
        phonemes = self._espeak.phonemes if self._espeak else _letters
        for phrase in phrases_read(text, language, phonemes, _MOST_PHONEMES):
            ids = self._ids(phrase)
            if ids:
                yield self._spoken(ids, speed)

    def _ids(self, phonemes: str) -> list[int]:
        """Return the numbers of phonemes, with those of start, end and what stands between; none for no known ones."""
        known = self._settings.ids
        replaced = [each for one in phonemes for each in self._settings.replaced.get(one, (one,))]
        found = [known[each] for one in replaced for each in instead_of(one, known)]
        if not any(each.isalpha() for one in replaced for each in instead_of(one, known)):
            return []
        between = known[_BETWEEN]
        return [*known[_START], *between, *(n for ids in found for n in (*ids, *between)), *known[_END]]

    def _spoken(self, ids: list[int], speed: float) -> NDArray[np.float32]:
        settings = self._settings
        scales = [settings.noise * self._chance, settings.length / speed, settings.noise_of_lengths * self._chance]
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


def read_settings(path: Path) -> PiperSettings:
    """Read the settings of a voice, its .onnx.json. Raises WeightsError."""
    try:
        return _settings(read_json(path))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}; a Piper voice has its settings there") from error
    except (ValueError, ConfigError) as error:
        raise WeightsError(f"{path}: not the settings of a Piper voice: {one_line(error)}") from error


def _settings(said: Any) -> PiperSettings:
    kind = _of(said, "phoneme_type", str, "espeak")
    if kind not in ("espeak", "text"):
        raise ValueError(f"got phoneme_type = {shown(kind)}, expected espeak or text")
    espeak_voice = _of(_of(said, "espeak", dict, {}), "voice", str, "")
    code = _of(_of(said, "language", dict, {}), "code", str, espeak_voice)
    scales = _of(said, "inference", dict, {})
    n_speakers = _of(said, "num_speakers", int, 1)
    speakers = _of(said, "speaker_id_map", dict, {})
    ids = {name: _numbers(each) for name, each in _of(said, "phoneme_id_map", dict).items()}
    if not all(ids.get(each) for each in (_START, _END, _BETWEEN)) or len(ids) > _MOST_SYMBOLS:
        raise ValueError(f"got a phoneme_id_map of {len(ids)} symbols without ^, $ and _, or of far too many")
    if not 1 <= n_speakers <= _MOST_SPEAKERS or len(speakers) > n_speakers:
        raise ValueError(f"got num_speakers = {n_speakers} and {len(speakers)} names of speakers")
    if not all(type(n) is int and 0 <= n < n_speakers for n in speakers.values()):
        raise ValueError(f"got a speaker_id_map with other numbers than 0 to {n_speakers - 1}")
    return PiperSettings(
        language=language_code(code, may_be_auto=False),
        ids=ids,
        replaced={name: _texts(each) for name, each in _of(said, "phoneme_map", dict, {}).items()},
        espeak_voice=espeak_voice if kind == "espeak" else None,
        noise=_scale(scales, "noise_scale", 0.667, 0),
        length=_scale(scales, "length_scale", 1.0, 0.1),
        noise_of_lengths=_scale(scales, "noise_w", 0.8, 0),
        n_speakers=n_speakers,
        speakers=speakers,
    )


def _of(said: Any, name: str, kind: type, default: Any = None) -> Any:
    """Return a value of an object. Raises ValueError where it has another type, or is missing without a default."""
    found = said.get(name, default) if isinstance(said, dict) else None
    if found is None and default is not None:
        return default
    if type(found) is not kind:
        raise ValueError(f"got {name} = {shown(found)}, expected {kind.__name__}")
    return found


def _scale(scales: Mapping[str, Any], name: str, default: float, low: float) -> float:
    found = scales.get(name, default)
    if type(found) not in (int, float) or not math.isfinite(found) or not low <= found <= 10:
        raise ValueError(f"got {name} = {shown(found)}, expected a number from {low:g} to 10")
    return float(found)


def _numbers(said: Any) -> tuple[int, ...]:
    is_list = isinstance(said, list) and len(said) <= _MOST_IDS
    if not is_list or not all(type(each) is int and 0 <= each < _MOST_ID for each in said):
        raise ValueError(f"got {shown(said)} in phoneme_id_map, expected a list of few numbers")
    return tuple(said)


def _texts(said: Any) -> tuple[str, ...]:
    is_list = isinstance(said, list) and len(said) <= _MOST_IDS
    if not is_list or not all(isinstance(each, str) and len(each) <= _MOST_IDS for each in said):
        raise ValueError(f"got {shown(said)} in phoneme_map, expected a list of few phonemes")
    return tuple(said)


def open_piper(
    path: Path, vocoder_of: Callable[[Path, SplitVoice], AudioVocoder], speaker: str = "", *, chance: float = 1.0
) -> PiperVoice:
    """Return the voice of an .onnx file with its .onnx.json beside it.

    vocoder_of: makes its vocoder. speaker: a name or a number; empty for the first. chance: 0 makes it say the same
    every time. Raises ConfigError for a speaker that it has not, BackendError without espeak-ng, ModelError and
    VocoderError.
    """
    # Here, because it brings in a library that settings and names do without.
    from simul_whisper.vocoders.voice_file import split_voice

    settings = read_settings(path.with_name(f"{path.name}.json"))
    n = settings.speakers.get(speaker, int(speaker) if speaker.isdecimal() and len(speaker) < 6 else 0)
    if (speaker and speaker not in settings.speakers and not speaker.isdecimal()) or n >= settings.n_speakers:
        names = ", ".join(settings.speakers) or f"0 to {settings.n_speakers - 1}"
        raise ConfigError(f"got speaker {shown(speaker)} of {path.name}, expected one of {one_line(names)}")
    parts = split_voice(path)
    return PiperVoice(path.stem, settings, parts, vocoder_of(path, parts), speaker=n, chance=chance)
