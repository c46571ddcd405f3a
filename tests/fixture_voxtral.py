"""The fixture Voxtral: a small model that reads chords, of which every word and its place in the audio are known.

`scripts.fixture_voxtral` trained it, and its `language` is the oracle.
"""

from functools import cache
from pathlib import Path

from scripts.chord_delays import DIRECTORY, told
from scripts.chord_delays import held_out as speech_of
from scripts.fixture_voxtral.language import Speech
from simul_whisper import AlignAttConfig, Model, load_model


def held_out(seed: int, n: int = 14, spoken: str = "en") -> Speech:
    """Speech that the model did not learn from."""
    return speech_of(seed, n, spoken)


@cache
def model() -> Model:
    """With the heads that calibration has found."""
    return load_model(AlignAttConfig(model_path=str(DIRECTORY)))


def without_heads(directory: Path) -> Path:
    """Put the same model, whose alignment heads nobody knows, into a directory, and return that."""
    for name in ("config.json", "model.safetensors", "tekken.json"):
        (directory / name).symlink_to(DIRECTORY / name)
    return directory


__all__ = ["DIRECTORY", "held_out", "model", "told", "without_heads"]
