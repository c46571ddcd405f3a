"""What the commands share that speak the text of their sessions in this process."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from simul_whisper import AlignAttConfig, ConfigError, SimulWhisperError, SpeechConfig
from streaming.cli.options import Configs, ProgressBar, add_options, options_from
from streaming.cli.settings_file import settings_file
from streaming.output.texts import TRANSCRIPT

if TYPE_CHECKING:
    from simul_whisper import Voices

# It has this flag already, and what runs on the Neural Engine there may do so here.
_OF_ENGINE = ("coreml_compute_units",)
_ENGLISH = "en"
_SUFFIX = ".wav"


def add_speech_settings(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting of speech, but for those that the engine's flags set as well."""
    add_options(parser, SpeechConfig, "speech", without=_OF_ENGINE)


def speech_from(options: argparse.Namespace, configs: Configs) -> SpeechConfig:
    """Return the settings of their table in the file, changed by the flags. Raises ConfigError."""
    source, table = settings_file(options).table_of(SpeechConfig)
    shared_key = next((key for key in table if key in _OF_ENGINE), None)
    if shared_key:
        raise ConfigError(f"{source}: {shared_key} is the engine's, too; write it once, above all tables")
    own = argparse.Namespace(**{name: value for name, value in vars(options).items() if name not in _OF_ENGINE})
    shared = {each.name: getattr(configs.engine, each.name) for each in fields(SpeechConfig) if each.name in _OF_ENGINE}
    return replace(options_from(SpeechConfig, own), **shared)


def speech_flags(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the flags of speech that were given, but for those of the engine."""
    names = [each.name for each in fields(SpeechConfig) if each.name not in _OF_ENGINE and hasattr(options, each.name)]
    return tuple(f"--{name.replace('_', '-')}" for name in names)


def check_speech_file(path: Path, others: Sequence[str]) -> None:
    """Raise ConfigError for a file of speech that has another suffix than .wav, no folder, or is one of the others."""
    if path.suffix.lower() != _SUFFIX:
        raise ConfigError(f"got --speak {path}, expected a name that ends with {_SUFFIX}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: its folder does not exist")
    for other in map(Path, filter(None, others)):
        if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
            raise ConfigError(f"{path}: speech needs a file of its own; give another name with --speak")


def spoken_text(configs: Configs) -> str:
    """Return which text is spoken: the first translation, else the transcript."""
    return next(iter(configs.engine.targets), TRANSCRIPT)


def spoken_language(config: AlignAttConfig) -> str | None:
    """Return the language that is spoken; None where it is known only once somebody has said something."""
    if config.targets:
        return config.targets[0]
    if config.task == "translate":
        return _ENGLISH
    return None if config.language == "auto" else config.language


def spoken_of_several(config: AlignAttConfig) -> str:
    """Return what is to be said where there are several translations; empty where there are not."""
    if len(config.targets) < 2:
        return ""
    shown = ", ".join(config.targets[1:])
    return f"of the translations, the first is spoken: {config.targets[0]}; {shown} can only be read"


def opened_voices(config: SpeechConfig) -> "Voices":
    """Return the voices, none of them loaded. Raises what `open_voices` does."""
    # Here, because `--help` and bad flags do without them.
    from simul_whisper import open_voices

    return open_voices(config, ProgressBar())


def why_silent(voices: "Voices", language: str | None) -> str | None:
    """Load the voice of a language; return why it cannot be had, and None when it is there, or not known yet."""
    if language is None:
        return None
    try:
        voices.voice(language)
    except SimulWhisperError as error:
        return str(error)
    return None
