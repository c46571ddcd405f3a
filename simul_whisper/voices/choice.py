"""Which voice speaks a language: what the settings name, or the first of those that are here."""

import importlib.util
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from simul_whisper.coreml.runtime import CoreMLRuntime, default_runtime
from simul_whisper.errors import BackendError, ConfigError, ModelNotFoundError, WeightsError
from simul_whisper.fallback import BackendStatus
from simul_whisper.foreign_files import is_plain_path, one_line, read_bytes, shown
from simul_whisper.languages import language_names
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.voices import Voice, packages
from simul_whisper.voices.catalog import JOE, KOKORO, VoiceEntry, list_voices
from simul_whisper.voices.config import SpeechConfig
from simul_whisper.voices.espeak import program
from simul_whisper.voices.fetch import styles_folder, voices_home
from simul_whisper.voices.piper_settings import read_settings, settings_path
from simul_whisper.voices.styles import LANGUAGES, Style, languages_of, read_archive, read_folder

if TYPE_CHECKING:
    from simul_whisper.vocoders import AudioVocoder
    from simul_whisper.vocoders.voice_file import SplitVoice

_SUFFIX = ".onnx"
_MOST_KOKORO_BYTES = 1 << 30
_NEEDED = ("onnx", "onnxruntime", "sentencex")


class Voices:
    """The voices of a program, by language; each is loaded once, when it is first asked for, and shared.

    openers: what loads each voice. by_language: the name of the voice of each.
    """

    def __init__(self, openers: Mapping[str, Callable[[], Voice]], by_language: Mapping[str, str]) -> None:
        self._openers, self._by_language = openers, by_language
        self._loaded = dict[str, Voice]()
        self._lock = threading.Lock()

    @property
    def languages(self) -> tuple[str, ...]:
        """Whisper's codes of the languages that have a voice."""
        return tuple(self._by_language)

    @property
    def by_language(self) -> Mapping[str, str]:
        """The name of the voice of each language."""
        return dict(self._by_language)

    def voice(self, language: str) -> Voice:
        """Return the voice of a language (Whisper's code), from any thread.

        Raises ConfigError where there is none; BackendError, ModelError and VocoderError where it cannot be loaded.
        """
        name = self._by_language.get(language)
        if name is None:
            there = ", ".join(language_names(self._by_language).values())
            raise ConfigError(
                f"no voice speaks {language_names().get(language, shown(language))} here, only {there}; see "
                "`simul-whisper voices`, or give the .onnx file of a voice"
            )
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._openers[name]()
            return self._loaded[name]

    def status(self, language: str) -> BackendStatus | None:
        """Return what runs the vocoder of the voice of a language; None before it is loaded, and where it has none."""
        voice = self._loaded.get(self._by_language.get(language, ""))
        return voice.status if isinstance(voice, _Changing) else None


@runtime_checkable
class _Changing(Protocol):
    """A voice whose vocoder may change."""

    @property
    def status(self) -> BackendStatus | None: ...


def open_voices(
    config: SpeechConfig, progress: ProgressHandler = silent, coreml_runtime: CoreMLRuntime | None = None
) -> Voices:
    """Return the voices that the settings ask for, none of them loaded yet.

    coreml_runtime: what runs Core ML; None for the system's own, where there is one. Raises ConfigError and ModelError
    for a voice that is not there, BackendError where a package or espeak-ng is missing.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError(f"voices need {missing[0]}, which is not installed; {packages.INSTALL}")
    program()
    opener = _Opener(config, progress, coreml_runtime)
    if config.voice == "auto":
        return opener.automatic()
    file, speaker = _of_speaker(config.voice)
    if file.endswith(_SUFFIX):
        return opener.of_file(_existing(file), speaker)
    return opener.of_entry(_entry(file), speaker)


def _of_speaker(voice: str) -> tuple[str, str]:
    """Split NAME:SPEAKER; a path may hold colons of its own."""
    name, colon, speaker = voice.rpartition(":")
    return (name, speaker) if colon and not speaker.endswith(_SUFFIX) else (voice, "")


def _existing(file: str) -> Path:
    try:
        path = Path(file).expanduser()
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelNotFoundError(f"{one_line(file)}: cannot be opened: {one_line(error)}") from error
    if not is_file:
        raise ModelNotFoundError(f"{one_line(file)}: no such file; expected the .onnx file of a voice")
    return path


def _entry(name: str) -> VoiceEntry:
    entries = {entry.name: entry for entry in list_voices()}
    if name not in entries and is_plain_path(name) and (own := voices_home() / f"{name}{_SUFFIX}").is_file():
        # It is no voice, for a reason that this tells.
        read_settings(settings_path(own))
    if name not in entries:
        raise ConfigError(f"got voice {shown(name)}, expected auto, {', '.join(entries)} or an .onnx file of a voice")
    if not entries[name].is_installed:
        raise ModelNotFoundError(f"the voice {name} is not installed; {entries[name].location}")
    return entries[name]


class _Opener:
    """Loads voices as the settings say."""

    def __init__(self, config: SpeechConfig, progress: ProgressHandler, runtime: CoreMLRuntime | None) -> None:
        self._config, self._progress, self._runtime = config, progress, runtime

    def automatic(self) -> Voices:
        """The first of the installed voices for each language."""
        entries = [entry for entry in list_voices() if entry.is_installed]
        if not entries:
            raise ModelNotFoundError(f"no voice is installed; {packages.INSTALL}")
        by_language = dict[str, str]()
        for entry in entries:
            by_language = dict.fromkeys(entry.languages, entry.name) | by_language
        return Voices({entry.name: self._opens(entry, "") for entry in entries}, by_language)

    def of_entry(self, entry: VoiceEntry, speaker: str) -> Voices:
        if speaker and speaker not in entry.speakers and not speaker.isdecimal():
            there = f"expected one of {one_line(', '.join(entry.speakers))}" if entry.speakers else "which has only one"
            raise ConfigError(f"got speaker {shown(speaker)} of {entry.name}, {there}")
        # Somebody who names a speaker of Kokoro hears that one, in whatever language.
        languages = LANGUAGES if entry.name == KOKORO and speaker else entry.languages
        return Voices({entry.name: self._opens(entry, speaker)}, dict.fromkeys(languages, entry.name))

    def of_file(self, path: Path, speaker: str) -> Voices:
        if settings_path(path).exists():
            languages: tuple[str, ...] = (read_settings(settings_path(path)).language,)
            return Voices({path.stem: lambda: self._piper(path, speaker)}, dict.fromkeys(languages, path.stem))
        styles = _styles_beside(path)
        languages = LANGUAGES if speaker else languages_of(styles)
        return Voices(
            {path.stem: lambda: self._kokoro(_model(path), styles, speaker, path.stem)},
            dict.fromkeys(languages, path.stem),
        )

    def _opens(self, entry: VoiceEntry, speaker: str) -> Callable[[], Voice]:
        if entry.name == KOKORO:
            return lambda: self._kokoro(packages.KOKORO.read(), _installed_styles(), speaker, KOKORO)
        if entry.name == JOE:
            return lambda: self._joe(speaker)
        return lambda: self._piper(Path(entry.location), speaker)

    def _joe(self, speaker: str) -> Voice:
        for file in (packages.JOE, packages.JOE_SETTINGS):
            file.read()
        return self._piper(packages.JOE.path(), speaker)

    def _piper(self, path: Path, speaker: str) -> Voice:
        from simul_whisper.voices.piper import open_piper

        self._progress(Progress(Stage.LOADING, path.stem))
        return open_piper(path, self._vocoder, speaker)

    def _kokoro(self, model: bytes, styles: Mapping[str, Style], speaker: str, name: str) -> Voice:
        from simul_whisper.voices.kokoro import KokoroVoice

        self._progress(Progress(Stage.LOADING, name))
        return KokoroVoice(model, styles, speaker, name)

    def _vocoder(self, path: Path, parts: "SplitVoice") -> "AudioVocoder":
        from simul_whisper.vocoders.choice import choose_vocoder

        return choose_vocoder(self._config, path, parts, self._progress, self._runtime or default_runtime())


def _installed_styles() -> dict[str, Style]:
    """Return the styles that were fetched, and those of pip's package."""
    packaged = packages.KOKORO_STYLES
    styles = dict[str, Style]()
    if packaged.is_installed:
        packaged.read()
        styles = read_archive(packaged.path())
    folder = styles_folder()
    return styles | (read_folder(folder) if any(folder.glob("*.bin")) else {})


def _styles_beside(path: Path) -> dict[str, Style]:
    """Return the styles beside a Kokoro file: in `voices/`, or in an archive such as voices-v1.0.bin; else our own."""
    folder = path.parent / "voices"
    if folder.is_dir():
        return read_folder(folder)
    archives = [each for ending in (".bin", ".npz") for each in sorted(path.parent.glob(f"voices*{ending}"))]
    styles = read_archive(archives[0]) if archives else _installed_styles()
    if not styles:
        raise ModelNotFoundError(
            f"{path}: got neither {settings_path(path).name}, which a Piper voice has, nor a folder `voices` with the "
            "styles of Kokoro's speakers"
        )
    return styles


def _model(path: Path) -> bytes:
    try:
        return read_bytes(path, _MOST_KOKORO_BYTES)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {one_line(error)}") from error
