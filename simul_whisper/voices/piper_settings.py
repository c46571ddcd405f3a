"""What the .onnx.json of a Piper voice says. It may be anybody's file: all is read within bounds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simul_whisper.errors import ConfigError, WeightsError
from simul_whisper.foreign_files import one_line, read_json, shown
from simul_whisper.languages import language_code

START, END, BETWEEN = "^", "$", "_"
"""Phonemes that every voice has."""
_MOST_SYMBOLS, _MOST_IDS, _MOST_ID, _MOST_SPEAKERS = 4096, 8, 1 << 16, 1 << 16


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


def settings_path(path: Path) -> Path:
    """Return where the settings of a voice's .onnx file are."""
    return path.with_name(f"{path.name}.json")


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
    if not all(ids.get(each) for each in (START, END, BETWEEN)) or len(ids) > _MOST_SYMBOLS:
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
