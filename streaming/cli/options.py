"""Command-line flags made from the fields of settings, the file they may stand in, and what all subcommands show while
a model loads.
"""

import argparse
import json
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from typing import Any, Literal, TypeVar, get_args, get_origin

from tqdm import tqdm

from simul_whisper import PRESETS, AlignAttConfig, ConfigError, Progress, from_mapping, option_of, read_toml
from streaming.settings import VoiceConfig

# These have other names on the command line.
_FLAGS = {"model_name": "--model", "segment_length": "--chunk", "precision": "--compute-precision", "targets": "--to"}
# The table of the file that holds the settings of voice activity; all else in it is the engine's.
_VOICE_TABLE = "voice"

_Settings = TypeVar("_Settings")


def add_options(
    parser: argparse.ArgumentParser, settings: type[Any], title: str, description: str | None = None
) -> None:
    """Add a flag for every option of the settings; only those given are set on the parsed options."""
    group = parser.add_argument_group(title, description)
    for each in fields(settings):
        default = f" (default: {_shown_default(each)})" if _shown_default(each) else ""
        group.add_argument(
            _flag(each),
            dest=each.name,
            default=argparse.SUPPRESS,
            help=f"{option_of(each).help}{default}".replace("%", "%%"),
            **_parsing(each),
        )


def options_from(settings: type[_Settings], options: argparse.Namespace) -> _Settings:
    """Return the settings with the flags that were given. Raises ConfigError."""
    return settings(**_given(settings, options))


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add --config and a flag for every setting of the engine."""
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--config", metavar="FILE", help="TOML file of settings; flags win over it")
    start.add_argument("--preset", choices=list(PRESETS), default="default", help="named settings to start from")
    add_options(parser, AlignAttConfig, "settings of the engine")


def add_voice_settings(parser: argparse.ArgumentParser, description: str | None = None) -> None:
    """Add a flag for every setting of voice activity."""
    add_options(parser, VoiceConfig, "voice activity", description)


def config_from(options: argparse.Namespace) -> AlignAttConfig:
    """Return the validated settings of the file or preset, changed by the flags. Raises ConfigError."""
    engine, _ = _tables(options)
    return _engine_from(options, engine)


def configs_from(options: argparse.Namespace) -> tuple[AlignAttConfig, VoiceConfig]:
    """Return the validated settings of the engine and of voice activity: those of the file, changed by the flags.

    Raises ConfigError.
    """
    engine, voice = _tables(options)
    source = f"{options.config}: [{_VOICE_TABLE}]"
    return _engine_from(options, engine), replace(
        from_mapping(VoiceConfig, voice, source), **_given(VoiceConfig, options)
    )


def session_configs_from(options: argparse.Namespace) -> tuple[AlignAttConfig, VoiceConfig]:
    """Return what `configs_from` does where a flag of voice activity was given; else its gate is open.

    Raises ConfigError.
    """
    if _given(VoiceConfig, options):
        return configs_from(options)
    return config_from(options), VoiceConfig(vad=False)


def _given(settings: type[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the settings that were given as flags."""
    return {each.name: getattr(options, each.name) for each in fields(settings) if hasattr(options, each.name)}


def _tables(options: argparse.Namespace) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what the file says of the engine and of voice activity. It is read once: it may be a pipe."""
    engine = read_toml(options.config) if options.config else {}
    voice = engine.pop(_VOICE_TABLE, {})
    if not isinstance(voice, Mapping):
        raise ConfigError(f"{options.config}: got {_VOICE_TABLE} = {voice!r}, expected a table, [{_VOICE_TABLE}]")
    return engine, voice


def _engine_from(options: argparse.Namespace, values: Mapping[str, Any]) -> AlignAttConfig:
    if options.config:
        config = AlignAttConfig.from_mapping(values, str(options.config))
    else:
        config = AlignAttConfig.preset(options.preset)
    for name, value in _given(AlignAttConfig, options).items():
        setattr(config, name, value)
    return config.validated()


def settings_table(config_class: type[Any] = AlignAttConfig, *, flags: bool = True) -> str:
    """Return the settings as a Markdown table, for the documentation; flags: whether each is a flag, too."""
    heads = ["setting", *(["flag"] if flags else []), "default", "meaning"]
    rows = [
        [f"`{each.name}`", *([f"`{_flag(each)}`"] if flags else []), _default(each), option_of(each).help]
        for each in fields(config_class)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


class ProgressBar:
    """Shows the stages of long work on stderr: a bar on a terminal where something is counted, else a line."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._title = ""

    def __call__(self, progress: Progress) -> None:
        title = f"{progress.stage.value.replace('_', ' ')} {progress.detail}"
        if not progress.total:
            self.close()
            print(f"simul-whisper: {title}", file=sys.stderr)
            return
        if self._bar is None or self._title != title:
            self.close()
            self._title = title
            self._bar = tqdm(desc=title, total=progress.total, unit_scale=True, leave=False, disable=None)
        self._bar.update(progress.done - self._bar.n)
        if progress.done >= progress.total:
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _flag(each: "Field[Any]") -> str:
    return _FLAGS.get(each.name, "--" + each.name.replace("_", "-"))


def _shown_default(each: "Field[Any]") -> str:
    assert each.default is not MISSING
    return f"{each.default}" if each.default not in ("", None, ()) else ""


def _default(each: "Field[Any]") -> str:
    return f"`{_shown_default(each)}`" if _shown_default(each) else ""


def _parsing(each: "Field[Any]") -> dict[str, Any]:
    """Return how argparse reads the setting."""
    annotation: Any = each.type
    if isinstance(annotation, types.UnionType):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        annotation = str
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    if annotation in (int, float, str):
        choices = option_of(each).choices
        return {"type": annotation, **({"choices": choices} if choices else {"metavar": annotation.__name__})}
    return {"type": _json, "metavar": "JSON"}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected JSON such as [[3, 1], [4, 2]]") from error
