"""Piper's voices: the settings, and the real voice of the package where it and espeak-ng are installed."""

import copy
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import ConfigError, VoiceError, WeightsError
from simul_whisper.vocoders.onnx import OnnxVocoder
from simul_whisper.vocoders.voice_file import SplitVoice
from simul_whisper.voices import packages
from simul_whisper.voices.piper import PiperVoice, open_piper
from simul_whisper.voices.piper_settings import read_settings, settings_path
from tests.hostile_files import only_our_errors

SETTINGS: dict[str, Any] = {
    "audio": {"sample_rate": 22050},
    "espeak": {"voice": "en-us"},
    "inference": {"noise_scale": 0.5, "length_scale": 1, "noise_w": 0.8},
    "num_speakers": 2,
    "speaker_id_map": {"ann": 0, "bob": 1},
    "phoneme_map": {"x": ["k"]},
    "phoneme_id_map": {"_": [0], "^": [1], "$": [2], " ": [3], "a": [4]},
    "language": {"code": "en_GB"},
}
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 10**400, float("nan"), 1e308, "", "../../x", "x" * 5000, [], {}, [[]], [10**9], {"": {}}]
)
needs_voice = pytest.mark.skipif(
    shutil.which("espeak-ng") is None or not packages.JOE.is_installed, reason="the voice or espeak-ng is not installed"
)


def written(folder: Path, settings: Any) -> Path:
    path = folder / "voice.onnx.json"
    path.write_text(json.dumps(settings), "utf-8")
    return path


def changed(keys: list[str], value: Any) -> dict[str, Any]:
    """The settings with one value replaced, or taken away where it is None."""
    settings = copy.deepcopy(SETTINGS)
    inner = settings
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return settings


def vocoder_of(_path: Path, parts: SplitVoice) -> OnnxVocoder:
    return OnnxVocoder(parts.vocoder, parts.reference)


@pytest.fixture(scope="module")
def joe() -> PiperVoice:
    return open_piper(packages.JOE.path(), vocoder_of, chance=0)


def sound(voice: PiperVoice, text: str, speed: float = 1.0) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *voice.speak(text, "en", speed)])


def test_settings_are_read(tmp_path: Path) -> None:
    found = read_settings(written(tmp_path, SETTINGS))
    assert (found.language, found.espeak_voice, found.n_speakers) == ("en", "en-us", 2)
    assert (found.noise, found.length, found.noise_of_lengths) == (0.5, 1.0, 0.8)
    assert found.ids["a"] == (4,)
    assert found.replaced == {"x": ("k",)}
    assert found.speakers == {"ann": 0, "bob": 1}


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (["espeak", "voice"], "pt-br", ("pt", "pt-br")),
        (["phoneme_type"], "text", ("en", None)),
        (["inference"], None, ("en", "en-us")),
    ],
)
def test_older_and_other_settings_are_read(keys: list[str], value: Any, expected: Any, tmp_path: Path) -> None:
    settings = changed(keys, value)
    if keys[0] == "espeak":
        del settings["language"]
    found = read_settings(written(tmp_path, settings))
    assert (found.language, found.espeak_voice) == expected


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (["phoneme_type"], "pinyin", "expected espeak or text"),
        (["phoneme_id_map"], {"_": [0]}, "without"),
        (["phoneme_id_map", "a"], [-1], "list of few numbers"),
        (["inference", "length_scale"], 0, "from 0.1 to 10"),
        (["num_speakers"], 0, "num_speakers = 0"),
        (["speaker_id_map"], {"ann": 7}, "other numbers"),
        (["language", "code"], "tlh", "which Whisper does not know"),
    ],
)
def test_impossible_settings_are_refused(keys: list[str], value: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=expected):
        read_settings(written(tmp_path, changed(keys, value)))


def test_missing_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a\.onnx\.json: cannot be read.*has its settings there"):
        read_settings(settings_path(tmp_path / "a.onnx"))


KEYS = [[key] for key in SETTINGS] + [
    [key, inner] for key, value in SETTINGS.items() if isinstance(value, dict) for inner in value
]


@given(st.sampled_from(KEYS), VALUES)
def test_hostile_settings_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], value: Any
) -> None:
    folder = tmp_path_factory.mktemp("voice")
    with only_our_errors():
        read_settings(written(folder, changed(keys, value)))


@needs_voice
def test_the_voice_speaks_phrase_by_phrase(joe: PiperVoice) -> None:
    said = list(joe.speak("When the rain had stopped, we went out to look at the garden.", "en"))
    assert len(said) == 2
    assert joe.rate == 22050
    for phrase in said:
        assert phrase.dtype == np.float32
        assert 0.8 < len(phrase) / joe.rate < 4
        assert 0.1 < np.abs(phrase).max() <= 1


@needs_voice
@pytest.mark.parametrize("text", ["Spain is far away.", "Simple things are best.", "She came.", "Half of them came."])
def test_it_begins_with_silence_and_not_in_the_middle_of_a_consonant(joe: PiperVoice, text: str) -> None:
    beginning = sound(joe, text)[: joe.rate // 50]
    assert np.abs(beginning).max() < 0.004


@needs_voice
def test_it_says_the_same_again_when_nothing_is_left_to_chance(joe: PiperVoice) -> None:
    assert np.array_equal(sound(joe, "The same again."), sound(joe, "The same again."))


@needs_voice
def test_speed_is_a_multiple(joe: PiperVoice) -> None:
    text = "This takes a while to say, however fast it is said."
    slow, plain, fast = (len(sound(joe, text, speed)) for speed in (0.8, 1.0, 1.25))
    assert slow / plain == pytest.approx(1.25, abs=0.06)
    assert fast / plain == pytest.approx(0.8, abs=0.06)


@needs_voice
@pytest.mark.parametrize("text", ["", " ", "😀", "...", "\x00"])
def test_nothing_to_be_said_is_nothing(joe: PiperVoice, text: str) -> None:
    assert list(joe.speak(text, "en")) == []


@needs_voice
@pytest.mark.parametrize(
    ("text", "language", "speed", "expected"),
    [
        ("Hallo", "de", 1.0, "speaks en, got a text in de"),
        ("Привет", "en", 1.0, "script"),
        ("Hello", "en", 0.0, "got speed"),
        ("Hello", "en", float("nan"), "got speed"),
        ("a" * 10_001, "en", 1.0, "expected at most"),
    ],
)
def test_what_it_cannot_say_is_told(joe: PiperVoice, text: str, language: str, speed: float, expected: str) -> None:
    with pytest.raises(VoiceError, match=expected):
        next(joe.speak(text, language, speed))


@needs_voice
def test_hostile_text_is_bounded(joe: PiperVoice) -> None:
    """A word without end is said in pieces, each no longer than the voice takes."""
    first = next(joe.speak("9" * 100, "en"))
    assert len(first) / joe.rate < 60


@needs_voice
def test_it_is_shared_by_threads(joe: PiperVoice) -> None:
    texts = ["First.", "The second one.", "And here is the third."]
    alone = [sound(joe, text) for text in texts]
    together = dict[int, NDArray[np.float32]]()
    threads = [threading.Thread(target=lambda n=n: together.update({n: sound(joe, texts[n % 3])})) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(together[n], alone[n % 3]) for n in range(6))


@needs_voice
@pytest.mark.parametrize("speaker", ["bob", "1", "-1", "99999999999"])
def test_a_speaker_that_it_has_not_is_told(speaker: str) -> None:
    with pytest.raises(ConfigError, match="got speaker"):
        open_piper(packages.JOE.path(), vocoder_of, speaker)


@needs_voice
def test_the_packages_files_are_whole() -> None:
    for file in (packages.JOE, packages.JOE_SETTINGS):
        file.read()
