"""Which of a recording's audio tracks is heard: the one asked for, by number or language, else the default one.

It knows what a container says of its tracks and nothing of how they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simul_whisper import AudioFormatError, ConfigError, language_code


@dataclass(frozen=True)
class Track:
    """An audio track. number: counted from 1; language: as the container writes it, empty when it does not say."""

    number: int
    language: str = ""
    title: str = ""
    is_default: bool = False

    def __str__(self) -> str:
        notes = [self.language, self.title and repr(self.title), "default" if self.is_default else ""]
        noted = ", ".join(note for note in notes if note)
        return f"{self.number} ({noted})" if noted else f"{self.number}"


def choose_track(tracks: Sequence[Track], wanted: str, name: str) -> Track:
    """Return the track with that number or language, the first of several; for "" the default one, else the first.

    Raises AudioFormatError, which begins with `name` and lists the tracks.
    """
    if not tracks:
        raise AudioFormatError(f"{name}: none of its audio tracks can be decoded")
    if not wanted:
        return next((track for track in tracks if track.is_default), tracks[0])
    if wanted.isdecimal():
        found = [track for track in tracks if track.number == int(wanted)]
    else:
        found = [track for track in tracks if track.language and _language(track.language) == _language(wanted)]
    if not found:
        raise AudioFormatError(f"{name}: there is no audio track {wanted!r}; it has {listed(tracks)}")
    return next((track for track in found if track.is_default), found[0])


def listed(tracks: Sequence[Track]) -> str:
    return ", ".join(str(track) for track in tracks)


def _language(written: str) -> str:
    """Return Whisper's code of a language, however it is written; one that Whisper does not know is itself."""
    try:
        return language_code(written)
    except ConfigError:
        return written.casefold()
