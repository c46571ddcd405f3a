"""Kokoro-82M: one ONNX file for eight languages, of which six are read by espeak-ng, and a style for each speaker.

https://huggingface.co/hexgrad/Kokoro-82M. Styles: float32 (510, 256), a vector for each number of phonemes.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import ConfigError, VoiceError, WeightsError
from simul_whisper.foreign_files import shown
from simul_whisper.languages import language_names
from simul_whisper.voices.espeak import Espeak
from simul_whisper.voices.reading import check_speed, instead_of, phrases_read, trimmed
from simul_whisper.voices.runner import Runner

RATE = 24_000
STYLE_SHAPE = 510, 256
ESPEAK_VOICES = {"en": "en-us", "es": "es", "fr": "fr-fr", "hi": "hi", "it": "it", "pt": "pt-br"}
"""Whisper's code -> what reads it. Japanese and Chinese, which it speaks too, espeak-ng does not read well enough."""
_LETTERS = {"en": "ab", "es": "e", "fr": "f", "hi": "h", "it": "i", "pt": "p"}
"""What the names of a language's speakers begin with; those of British English with b."""
_BRITISH = "b", "en-gb"

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
_MOST_PHONEMES = STYLE_SHAPE[0] - 1


class KokoroVoice:
    """model: the ONNX file. styles: of each speaker, by its name, float32 (510, 256).

    speaker: the name of the one who speaks all languages; empty for the first of each language.
    """

    def __init__(
        self, model: bytes, styles: Mapping[str, NDArray[np.float32]], speaker: str = "", name: str = "kokoro"
    ) -> None:
        if speaker and speaker not in styles:
            raise ConfigError(f"got speaker {shown(speaker)} of {name}, expected one of {', '.join(sorted(styles))}")
        self._name = f"{name}:{speaker}" if speaker else name
        self._runner = Runner(model, name)
        inputs = self._runner.inputs
        self._tokens = next((each for each in ("tokens", "input_ids") if each in inputs), "")
        if not self._tokens or not {"style", "speed"} <= inputs.keys():
            raise WeightsError(f"{name}: got the inputs {shown(sorted(inputs))}, expected tokens, style and speed")
        self._styles = {each: styles[speaker or _speaker(each, styles)] for each in ESPEAK_VOICES}
        is_british = speaker.startswith(_BRITISH[0])
        voices = ESPEAK_VOICES | ({"en": _BRITISH[1]} if is_british else {})
        self._espeaks = {language: Espeak(voice) for language, voice in voices.items()}

    @property
    def description(self) -> str:
        return f"{self._name}, onnx (cpu)"

    @property
    def rate(self) -> int:
        return RATE

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(ESPEAK_VOICES)

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        if language not in ESPEAK_VOICES:
            names = ", ".join(language_names(ESPEAK_VOICES).values())
            raise VoiceError(f"{self._name} speaks {names}, got a text in {language}")
        check_speed(speed)
        for phrase in phrases_read(text, language, self._espeaks[language].phonemes, _MOST_PHONEMES):
            ids = phoneme_ids(phrase)
            if ids:
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


def _speaker(language: str, styles: Mapping[str, Any]) -> str:
    """Return the first speaker of a language; where there is none, the first at all."""
    return min(styles, key=lambda name: (not name.startswith(tuple(_LETTERS[language])), name != "af_heart", name))
