"""Which voice speaks: by language, by name, or a file; and what is told where there is none."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import (
    BackendError,
    BackendStatus,
    ConfigError,
    ModelNotFoundError,
    SpeechConfig,
    Voice,
    Voices,
    WeightsError,
)
from simul_whisper.voices import choice, packages
from simul_whisper.voices.catalog import list_voices
from simul_whisper.voices.choice import open_voices
from simul_whisper.voices.packages import PackagedFile
from tests.simul_whisper.voices.kokoro_file import echo_model, write_styles

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
needs_joe = pytest.mark.skipif(not packages.JOE.is_installed, reason="the voice joe is not installed")


class Silent:
    """A voice that says nothing."""

    description, rate = "silent", 16_000

    def speak(self, text: str, language: str, speed: float = 1.0) -> Iterator[NDArray[np.float32]]:
        yield np.zeros(len(text) + len(language) + round(speed), np.float32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of voices, in an empty cache."""
    monkeypatch.setenv("SIMUL_WHISPER_CACHE", str(tmp_path))
    return tmp_path / "voices"


def put_german_voice(home: Path) -> Path:
    """Put the voice of the package into the folder, as if it spoke German."""
    home.mkdir()
    path = home / "de_DE-otto-medium.onnx"
    path.symlink_to(packages.JOE.path())
    settings = packages.JOE_SETTINGS.read().decode().replace('"en_US"', '"de_DE"').replace('"en-us"', '"de"')
    path.with_name(f"{path.name}.json").write_text(settings, "utf-8")
    return path


def test_a_voice_is_loaded_once_whoever_asks() -> None:
    opened = list[str]()
    all_wait = threading.Barrier(4)

    def opener() -> Voice:
        opened.append("x")
        return Silent()

    voices = Voices({"one": opener}, {"en": "one", "es": "one"})
    found = list[Voice]()

    def ask(language: str) -> None:
        all_wait.wait(10)
        found.append(voices.voice(language))

    threads = [threading.Thread(target=ask, args=(language,)) for language in ("en", "es", "en", "es")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["x"]
    assert len({id(each) for each in found}) == 1
    assert voices.languages == ("en", "es")


def test_a_language_without_a_voice_is_told_with_what_there_is() -> None:
    voices = Voices({"one": Silent}, {"en": "one", "es": "one"})
    with pytest.raises(ConfigError, match="no voice speaks German here, only English, Spanish; see `simul-whisper voi"):
        voices.voice("de")
    with pytest.raises(ConfigError, match="no voice speaks 'xx'"):
        voices.voice("xx")


@needs_espeak
@needs_joe
def test_auto_takes_the_first_that_is_here(home: Path) -> None:
    voices = open_voices(SpeechConfig())
    assert "de" not in voices.languages
    put_german_voice(home)
    voices = open_voices(SpeechConfig())
    assert "de" in voices.languages
    assert voices.voice("en").description.startswith("en_US-joe-medium, vocoder")
    assert voices.voice("de").description.startswith("de_DE-otto-medium, vocoder")
    assert sum(map(len, voices.voice("de").speak("Guten Tag.", "de"))) > 8_000


@needs_espeak
@needs_joe
def test_a_voice_of_the_folder_has_its_files_name(home: Path) -> None:
    path = put_german_voice(home)
    for name in (path.stem, str(path)):
        assert open_voices(SpeechConfig(voice=name)).languages == ("de",)
    entry = next(entry for entry in list_voices() if entry.name == path.stem)
    assert (entry.languages, entry.location, entry.is_installed) == (("de",), str(path), True)


@needs_espeak
@needs_joe
def test_what_is_damaged_in_the_folder_is_no_voice(home: Path) -> None:
    put_german_voice(home).with_name("de_DE-otto-medium.onnx.json").write_text("{", "utf-8")
    assert "de_DE-otto-medium" not in [entry.name for entry in list_voices()]
    with pytest.raises(WeightsError, match=r"de_DE-otto-medium\.onnx\.json: not the settings of a Piper voice"):
        open_voices(SpeechConfig(voice="de_DE-otto-medium"))


@needs_espeak
@pytest.mark.parametrize(
    ("voice", "error", "expected"),
    [
        ("nobody", ConfigError, "got voice 'nobody', expected auto, .*joe"),
        ("/none/there.onnx", ModelNotFoundError, "no such file"),
        ("~nobody_of_that_name/x.onnx", ModelNotFoundError, "cannot be opened"),
        ("x" * 5_000 + ".onnx", ModelNotFoundError, "cannot be opened"),
        ("../../etc/passwd", ConfigError, "got voice"),
        ("joe:bob", ConfigError, "got speaker 'bob' of joe, which has only one"),
        ("a\x1b[31m", ConfigError, r"got voice 'a\\x1b"),
    ],
)
@needs_joe
def test_a_voice_that_is_not_there_is_told(home: Path, voice: str, error: type[Exception], expected: str) -> None:
    assert not home.exists()
    with pytest.raises(error, match=expected):
        open_voices(SpeechConfig(voice=voice))


@needs_espeak
def test_a_kokoro_file_has_its_styles_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kokoro.onnx"
    path.write_bytes(echo_model())
    write_styles(tmp_path / "voices", "af_heart", "ff_siwis")
    voices = open_voices(SpeechConfig(voice=str(path)))
    assert voices.languages == ("en", "es", "fr")
    assert next(iter(voices.voice("fr").speak("Bonjour", "fr"))).size
    named = open_voices(SpeechConfig(voice=f"{path}:ff_siwis"))
    assert named.languages == ("en", "es", "fr", "hi", "it", "pt")
    assert named.voice("it").description == "kokoro:ff_siwis, onnx (cpu)"


@needs_espeak
def test_a_file_without_anything_beside_it_is_told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not home.exists()
    monkeypatch.setattr(packages, "KOKORO_STYLES", PackagedFile((("no_such_package", "x"),), ""))
    path = tmp_path / "some.onnx"
    path.write_bytes(echo_model())
    with pytest.raises(ModelNotFoundError, match=r"neither some\.onnx\.json.*nor a folder `voices`"):
        open_voices(SpeechConfig(voice=str(path)))


def test_without_espeak_it_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="apt install espeak-ng"):
        open_voices(SpeechConfig())


@needs_espeak
def test_without_the_packages_it_is_told_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not home.exists()
    absent = PackagedFile((("no_such_package", "x"),), "")
    for name in ("JOE", "KOKORO", "KOKORO_STYLES"):
        monkeypatch.setattr(packages, name, absent)
    assert not any(entry.is_installed for entry in list_voices())
    for voice in ("auto", "joe", "kokoro"):
        with pytest.raises(ModelNotFoundError, match=r"pip install 'simul-whisper\[voice\]'"):
            open_voices(SpeechConfig(voice=voice))
    monkeypatch.setattr(choice, "_NEEDED", ("no_such_package",))
    with pytest.raises(BackendError, match=r"no_such_package.*pip install 'simul-whisper\[voice\]'"):
        open_voices(SpeechConfig())


def test_a_damaged_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "voice_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "part.bin").write_bytes(b"x")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = PackagedFile((("voice_of_a_test", "part.bin"),), "0" * 64)
    assert file.is_installed
    with pytest.raises(WeightsError, match=r"damaged; got 1 bytes of another digest.*--force-reinstall"):
        file.read()


@needs_espeak
@needs_joe
def test_the_vocoder_is_the_one_that_was_asked_for(home: Path) -> None:
    assert not home.exists()
    voices = open_voices(SpeechConfig(voice="joe", vocoder_backend="mlx"))
    assert voices.status("en") is None
    assert "vocoder mlx" in voices.voice("en").description
    assert voices.status("en") == BackendStatus("mlx", "mlx")
    assert voices.status("de") is None
