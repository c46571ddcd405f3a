"""Kokoro-82M: one ONNX file for eight languages, of which six are read by espeak-ng, and a style for each speaker.

https://huggingface.co/hexgrad/Kokoro-82M
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import ConfigError, VoiceError, WeightsError
from simul_whisper.foreign_files import shown
from simul_whisper.languages import language_names
from simul_whisper.voices.espeak import Espeak
from simul_whisper.voices.reading import check_speed, instead_of, phrases_read, trimmed
from simul_whisper.voices.runner import Runner
from simul_whisper.voices.styles import BRITISH, LANGUAGES, STYLE_SHAPE, Style, speaker_of

RATE = 24_000
_ESPEAK_VOICES = {"en": "en-us", "es": "es", "fr": "fr-fr", "hi": "hi", "it": "it", "pt": "pt-br"}
_BRITISH_ENGLISH = "en-gb"

# The number of each phoneme: runs of neighbours, and where they begin.
_RUNS = (
    (1, ';:,.!?'), (9, '—…"()“” \u0303ʣʥʦʨᵝꭧAI'), (31, "O"), (33, "Q"), (35, "ST"), (39, "W"), (41, "Yᵊabcdef"),
    (50, "hijklmnopqrstuvwxyzɑɐɒæ"), (75, "βɔɕç"), (80, "ɖðʤə"), (85, "ɚɛɜ"), (90, "ɟ"), (92, "ɡ"), (99, "ɥ"),
    (101, "ɨɪʝ"), (110, "ɯɰŋɳɲɴø"), (118, "ɸθœ"), (123, "ɹ"), (125, "ɾɻ"), (128, "ʁɽʂʃʈʧ"), (135, "ʊʋ"), (138, "ʌɣɤ"),
    (142, "χʎ"), (147, "ʒʔ"), (156, "ˈˌː"), (162, "ʰ"), (164, "ʲ"), (169, "↓"), (171, "→↗↘"), (177, "ᵻ"),
)  # fmt: skip
_IDS = {phoneme: first + n for first, run in _RUNS for n, phoneme in enumerate(run)}
# Diphthongs and affricates are one letter each in what Kokoro was trained on.
_JOINED = {
    "c\u0327": "ç",
    "eɪ": "A",
    "aɪ": "I",
    "oʊ": "O",
    "əʊ": "Q",
    "aʊ": "W",
    "ɔɪ": "Y",
    "dʒ": "ʤ",
    "tʃ": "ʧ",
    "ts": "ʦ",
    "dz": "ʣ",
}
# There is a vector for each number of phonemes, and room for what stands at both ends.
_MOST_PHONEMES = STYLE_SHAPE[0] - 1


class KokoroVoice:
    """model: the ONNX file. styles: of each speaker, by its name, float32 (510, 256).

    speaker: the name of the one who speaks all languages, some with an accent; empty for one of each language's own.
    name: what it is called in errors. Raises ConfigError for an unknown speaker, BackendError without espeak-ng,
    WeightsError for another kind of model.
    """

    def __init__(self, model: bytes, styles: Mapping[str, Style], speaker: str = "", name: str = "kokoro") -> None:
        if speaker and speaker not in styles:
            raise ConfigError(f"got speaker {shown(speaker)} of {name}, expected one of {', '.join(sorted(styles))}")
        self._name = f"{name}:{speaker}" if speaker else name
        self._runner = Runner(model, name)
        inputs = self._runner.inputs
        self._tokens = next((each for each in ("tokens", "input_ids") if each in inputs), "")
        if not self._tokens or not {"style", "speed"} <= inputs.keys():
            raise WeightsError(f"{name}: got the inputs {shown(sorted(inputs))}, expected tokens, style and speed")
        chosen = {each: speaker or speaker_of(each, styles) for each in LANGUAGES}
        self._styles = {language: styles[each] for language, each in chosen.items() if each}
        self._espeaks = {language: _espeak(language, chosen[language]) for language in self._styles}

    @property
    def description(self) -> str:
        return f"{self._name}, onnx (cpu)"

    @property
    def rate(self) -> int:
        return RATE

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self._styles)

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        if language not in self._styles:
            names = ", ".join(language_names(self._styles).values())
            raise VoiceError(f"{self._name} speaks {names}, got a text in {language}")
        check_speed(speed)
        for phrase in phrases_read(text, language, self._espeaks[language].phonemes, _MOST_PHONEMES):
            if ids := phoneme_ids(phrase):
                yield self._spoken(ids, self._styles[language], speed)

    def _spoken(self, ids: list[int], style: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
        inputs: dict[str, NDArray[Any]] = {
            self._tokens: np.array([[0, *ids, 0]], np.int64),
            "style": style[None, len(ids) - 1],
            "speed": np.array([speed], np.float32),
        }
        return trimmed(self._runner.run(inputs).reshape(-1), RATE)


def phoneme_ids(phonemes: str) -> list[int]:
    """Return Kokoro's numbers of phonemes in IPA; none where there is nothing to be said."""
    for pair, letter in _JOINED.items():
        phonemes = phonemes.replace(pair, letter)
    known = [each for one in phonemes for each in instead_of(one, _IDS)]
    return [_IDS[each] for each in known] if any(map(str.isalpha, known)) else []


def _espeak(language: str, speaker: str | None) -> Espeak:
    is_british = language == "en" and (speaker or "").startswith(BRITISH)
    return Espeak(_BRITISH_ENGLISH if is_british else _ESPEAK_VOICES[language])
