"""The voices that there are: those of packages, and those in the folder of voices; their languages and licences.

It knows names and settings, and loads nothing.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from simul_whisper.errors import WeightsError
from simul_whisper.voices import packages
from simul_whisper.voices.fetch import FETCHED, styles_folder, voices_home
from simul_whisper.voices.piper_settings import read_settings, settings_path
from simul_whisper.voices.styles import LANGUAGES, SPEAKER, languages_of

JOE, KOKORO = "joe", FETCHED
_MOST_FILES = 1_000
_OWN_LICENCE = "see where it is from"
# The five speakers of the package that pip installs.
_PACKAGED_SPEAKERS = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")


@dataclass(frozen=True)
class VoiceEntry:
    """A voice by the name that SpeechConfig takes.

    languages: Whisper's codes of those that it speaks, where it is here; else of those that it would. licence: of its
    weights. location: where it is, or how to get it. speakers: their names, where it has several: NAME:SPEAKER chooses.
    """

    name: str
    languages: tuple[str, ...]
    licence: str
    location: str
    is_installed: bool
    speakers: tuple[str, ...] = ()


def list_voices(home: Path | None = None) -> tuple[VoiceEntry, ...]:
    """Return the voices that are here, in the order in which `auto` takes them, then those that could be. Asks nobody.

    home: another folder of voices than the cache's. What stands there comes first: somebody has chosen it.
    """
    entries = (*_own(home or voices_home()), _joe(), _kokoro(home))
    return tuple(sorted(entries, key=lambda entry: not entry.is_installed))


def _joe() -> VoiceEntry:
    is_here = packages.JOE.is_installed
    location = str(packages.JOE.path()) if is_here else packages.INSTALL
    return VoiceEntry(JOE, ("en",), "CC0-1.0", location, is_here)


def _kokoro(home: Path | None) -> VoiceEntry:
    speakers = _kokoro_speakers(home)
    is_here = packages.KOKORO.is_installed and bool(speakers)
    location = str(packages.KOKORO.path().parent) if is_here else packages.INSTALL
    languages = languages_of(speakers) if is_here else LANGUAGES
    return VoiceEntry(KOKORO, languages, "Apache-2.0", location, is_here, speakers)


def _kokoro_speakers(home: Path | None) -> tuple[str, ...]:
    fetched = {path.stem for path in styles_folder(home).glob("*.bin") if SPEAKER.fullmatch(path.stem)}
    packaged = _PACKAGED_SPEAKERS if packages.KOKORO_STYLES.is_installed else ()
    return tuple(sorted(fetched.union(packaged)))


def _own(home: Path) -> list[VoiceEntry]:
    """The Piper voices that somebody put into the folder; what is damaged there is no voice."""
    found = list[VoiceEntry]()
    for path in sorted(home.glob("*.onnx"))[:_MOST_FILES]:
        with suppress(WeightsError):
            settings = read_settings(settings_path(path))
            speakers = tuple(settings.speakers)
            found.append(VoiceEntry(path.stem, (settings.language,), _OWN_LICENCE, str(path), True, speakers))
    return found
