"""A set of recordings with references: a JSON object a line, `manifest.jsonl` beside the audio files.

Keys: id, path (from the manifest's folder), lang (a Whisper code; `none` without speech, `multi` for several),
kind (whatever groups them, such as short, long, hard), duration_s, transcript ("" when nothing may come out, null
when there is no reference to score by) and, where there are, translations, such as translation_es (a Whisper code), and
segments, the pieces that a long transcript consists of, each with start, end (seconds), text and translations. Others
are passed over.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from reprlib import Repr
from typing import Any

from simul_whisper import SimulWhisperError, language_names

FILE_NAME = "manifest.jsonl"
# Longer than any recording; larger numbers are no times.
_MOST_S = 1e9
_TRANSLATION = "translation_"
# As LibriSpeech names the speaker and the chapter that a recording is cut from.
_CHAPTER = re.compile(r"\d+-\d+")
_ONE_IN = 3
_shown = Repr().repr


class ManifestError(SimulWhisperError, ValueError):
    """A manifest is missing, or a line of it cannot be used."""


@dataclass(frozen=True)
class Segment:
    """A piece of a transcript, when it is spoken, and its translations by language."""

    start_s: float
    end_s: float
    text: str
    translations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """A recording and its references; None: there is none, so do not score it; "": nothing may come out.

    translations: references in other languages, by Whisper's codes.
    """

    id: str
    path: Path
    lang: str
    kind: str
    duration_s: float
    transcript: str | None
    translations: Mapping[str, str] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether it is of the third that nothing is tuned to, so that figures of it can be believed.

        The name decides: any set is parted in the same way on every machine, and pieces of a chapter stay together.
        """
        chapter = _CHAPTER.search(self.id)
        name = chapter.group() if chapter else self.id
        return int(hashlib.sha256(name.encode()).hexdigest(), 16) % _ONE_IN == 0


def load_manifest(path: Path | str) -> list[Clip]:
    """Return the clips of a manifest, or of `manifest.jsonl` in a folder; their files are not looked at.

    Raises ManifestError with the line's number and what is wrong with it.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    clips: dict[str, Clip] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            clip = _clip(line, path.parent)
            if clip.id in clips:
                raise ManifestError(f"the id {_shown(clip.id)} appears twice")
        except ManifestError as error:
            raise ManifestError(f"{path}, line {number}: {error}") from error
        clips[clip.id] = clip
    if not clips:
        raise ManifestError(f"{path}: there are no clips in it; each line describes one")
    return list(clips.values())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: got bytes that are not UTF-8, expected JSON lines") from error


def _clip(line: str, folder: Path) -> Clip:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(f"this is not JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError("this is not JSON: a number is too long, or values are nested too deeply") from error
    if not isinstance(row, dict):
        raise ManifestError(f"got {type(row).__name__}, expected an object")
    return Clip(
        id=_text(row, "id"),
        path=folder / _text(row, "path"),
        lang=_text(row, "lang"),
        kind=_text(row, "kind"),
        duration_s=_duration_s(row),
        transcript=_reference(row, "transcript"),
        translations=_translations(row),
        segments=_segments(row.get("segments", [])),
    )


def _value(row: dict[str, Any], key: str) -> Any:
    if key not in row:
        raise ManifestError(f"{key!r} is missing")
    return row[key]


def _text(row: dict[str, Any], key: str) -> str:
    value = _value(row, key)
    if not isinstance(value, str) or not value:
        raise ManifestError(f"got {key!r}: {_shown(value)}, expected a text that is not empty")
    return _writable(key, value)


def _writable(key: str, text: str) -> str:
    """Return a text that can be written to a file and to the system."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise ManifestError(f"got {key!r}: {_shown(text)}, expected a text without halves of characters and zeros")
    return text


def _reference(row: dict[str, Any], key: str) -> str | None:
    value = _value(row, key)
    if not isinstance(value, str | None):
        raise ManifestError(f"got {key!r}: {_shown(value)}, expected a text or null")
    return value if value is None else _writable(key, value)


def _translations(row: dict[str, Any]) -> dict[str, str]:
    """Return the translations that there are; a key that names no language, such as translation_by, is passed over."""
    codes = [key.removeprefix(_TRANSLATION) for key in row if key.startswith(_TRANSLATION)]
    found = {code: _reference(row, _TRANSLATION + code) for code in codes if code in language_names()}
    return {code: text for code, text in found.items() if text is not None}


def _duration_s(row: dict[str, Any]) -> float:
    value = _value(row, "duration_s")
    if not _is_number(value) or not 0 < value <= _MOST_S:
        raise ManifestError(f"got 'duration_s': {_shown(value)}, expected seconds above 0")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _segments(rows: Any) -> tuple[Segment, ...]:
    if not isinstance(rows, list):
        raise ManifestError(f"got 'segments': {_shown(rows)}, expected a list")
    segments = tuple(_segment(row) for row in rows)
    if any(after.start_s < before.end_s for before, after in pairwise(segments)):
        raise ManifestError("got 'segments' that overlap, expected one after the other")
    return segments


def _segment(row: Any) -> Segment:
    match row:
        case {"start": start, "end": end, "text": str(text)} if _is_number(start) and _is_number(end):
            if 0 <= start < end <= _MOST_S:
                return Segment(float(start), float(end), _writable("text", text), _translations(row))
    raise ManifestError(f"got the segment {_shown(row)}, expected start < end, in seconds, and a text")
