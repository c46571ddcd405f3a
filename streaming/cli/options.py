"""Command-line flags made from the fields of settings, the file they may stand in, and what all subcommands show while
a model loads.
"""

import argparse
import json
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any, Literal, TypeVar, get_args, get_origin

from tqdm import tqdm

from simul_whisper import (
    PRESETS,
    AlignAttConfig,
    ConfigError,
    Progress,
    Stage,
    TranslationConfig,
    from_mapping,
    option_of,
    read_terms,
)
from streaming.cli.settings_file import settings_file
from streaming.cli.values import Setting, mark_setting
from streaming.settings import VoiceConfig

# These have other names on the command line.
_FLAGS = {"model_name": "--model", "segment_length": "--chunk", "precision": "--compute-precision", "targets": "--to"}
# The flags of these begin with a word, since others have the same names.
_PREFIXES: Mapping[type[Any], str] = {TranslationConfig: "translation"}
_TARGETS = "targets"

# A list; the command line names a file of it.
_TERMS = "terms"

_FAILURES = (Stage.COREML_UNAVAILABLE, Stage.DOWNLOAD_FAILED, Stage.COMPILATION_FAILED)

_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class Configs:
    """What file and flags say. engine: its `targets` are all languages to translate into, whoever does it."""

    engine: AlignAttConfig
    voice: VoiceConfig
    translation: TranslationConfig

    @property
    def session(self) -> AlignAttConfig:
        """The settings of a session: of the targets, it has those that Whisper itself translates into."""
        return replace(self.engine, targets=self.translation.by_whisper(self.engine.targets))

    @property
    def stage_targets(self) -> tuple[str, ...]:
        """The other targets, which a stage beside the session translates into."""
        return self.translation.by_translator(self.engine.targets)


def add_options(
    parser: argparse.ArgumentParser,
    settings: type[Any],
    title: str,
    description: str | None = None,
    *,
    without: Sequence[str] = (),
    defaults: Mapping[str, str] | None = None,
) -> None:
    """Add a flag for every option of the settings; only those given are set on the parsed options.

    defaults: what the help says of them where it is not what the settings have.
    """
    chosen = [each for each in fields(settings) if each.name not in without]
    _add_flags(parser.add_argument_group(title, description), settings, chosen, defaults or {})


def options_from(settings: type[_Settings], options: argparse.Namespace) -> _Settings:
    """Return the settings of their table in the file, if they have one, changed by the flags. Raises ConfigError."""
    source, table = settings_file(options).table_of(settings)
    return replace(from_mapping(settings, table, source), **_given(settings, options))  # type: ignore[type-var]


def add_settings(parser: argparse.ArgumentParser, *, without: Sequence[str] = (_TARGETS,)) -> None:
    """Add --config and a flag for every setting of the engine but these, its targets unless told otherwise."""
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--config", metavar="FILE", help="TOML file of settings; flags win over it")
    start.add_argument("--preset", choices=list(PRESETS), default="default", help="named settings to start from")
    add_options(parser, AlignAttConfig, "settings of the engine", without=without)


def add_voice_settings(parser: argparse.ArgumentParser, *, is_on: bool = True) -> None:
    """Add a flag for every setting of voice activity; where it is not on, each of them turns it on."""
    if is_on:
        add_options(parser, VoiceConfig, "voice activity")
        return
    description = "With any of these, only speech is decoded, as by listen; without, everything is."
    add_options(
        parser, VoiceConfig, "voice activity", description, defaults={"vad": "False; True with another of these"}
    )


def add_translation_settings(parser: argparse.ArgumentParser) -> None:
    """Add --to and a flag for every setting of translation."""
    group = parser.add_argument_group("translation")
    _add_flags(group, AlignAttConfig, [each for each in fields(AlignAttConfig) if each.name == _TARGETS], {})
    _add_flags(group, TranslationConfig, fields(TranslationConfig), {})


def config_from(options: argparse.Namespace) -> AlignAttConfig:
    """Return the validated settings of the file or preset, changed by the flags. Raises ConfigError."""
    return _engine_from(options)


def configs_from(options: argparse.Namespace) -> Configs:
    """Return the validated settings of all three kinds: those of the file, changed by the flags. Raises ConfigError."""
    return Configs(_engine_from(options), options_from(VoiceConfig, options), options_from(TranslationConfig, options))


def session_configs_from(options: argparse.Namespace) -> Configs:
    """Return what `configs_from` does where a flag of voice activity was given; else its gate is open.

    Raises ConfigError.
    """
    if _given(VoiceConfig, options):
        return configs_from(options)
    return Configs(_engine_from(options), VoiceConfig(vad=False), options_from(TranslationConfig, options))


def translation_flags(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the flags of translation that were given, but for --to."""
    given = _given(TranslationConfig, options)
    return tuple(_flag(TranslationConfig, each) for each in fields(TranslationConfig) if each.name in given)


def changed_settings(
    options: argparse.Namespace, config: AlignAttConfig, *, but: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the flags of the settings that were given, or that the file or the preset has changed.

    but: settings that do not count; only: those that do, () for all.
    """
    given = _given(AlignAttConfig, options)
    changed = [
        each for each in fields(AlignAttConfig) if each.name in given or getattr(config, each.name) != each.default
    ]
    return tuple(
        _flag(AlignAttConfig, each) for each in changed if each.name not in but and (not only or each.name in only)
    )


def _given(settings: type[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the settings that were given as flags."""
    names = {each.name: _dest(settings, each) for each in fields(settings)}
    return {name: getattr(options, dest) for name, dest in names.items() if hasattr(options, dest)}


def _engine_from(options: argparse.Namespace) -> AlignAttConfig:
    if options.config:
        config = AlignAttConfig.from_mapping(settings_file(options).engine, str(options.config))
    else:
        config = AlignAttConfig.preset(options.preset)
    for name, value in _given(AlignAttConfig, options).items():
        setattr(config, name, value)
    return config.validated()


def settings_table(config_class: type[Any] = AlignAttConfig, *, flags: bool = True) -> str:
    """Return the settings as a Markdown table, for the documentation; flags: whether each is a flag, too."""
    heads = ["setting", *(["flag"] if flags else []), "default", "meaning"]
    rows = [
        [f"`{each.name}`", *([f"`{_flag(config_class, each)}`"] if flags else []), _default(each), option_of(each).help]
        for each in fields(config_class)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


class ProgressBar:
    """Shows the stages of long work on stderr: a bar on a terminal where something is counted, else a line."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._title = ""

    def __call__(self, progress: Progress) -> None:
        if progress.stage is Stage.DOWNLOAD_FAILED and not progress.part:
            # An error is raised as well, which says the same.
            self.close()
            return
        part = f"{progress.part}: " if progress.part else ""
        colon = ":" if progress.stage in _FAILURES else ""
        title = f"{part}{progress.stage.value.replace('_', ' ')}{colon} {progress.detail}"
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


def _add_flags(
    group: "argparse._ArgumentGroup",
    settings: type[Any],
    chosen: Sequence["Field[Any]"],
    defaults: Mapping[str, str],
) -> None:
    for each in chosen:
        shown = defaults.get(each.name, _shown_default(each))
        default = f" (default: {shown})" if shown else ""
        action = group.add_argument(
            _flag(settings, each),
            dest=_dest(settings, each),
            default=argparse.SUPPRESS,
            help=f"{option_of(each).help}{default}".replace("%", "%%"),
            **_parsing(each),
        )
        mark_setting(action, Setting(settings, each))


def _dest(settings: type[Any], each: "Field[Any]") -> str:
    return f"{_PREFIXES[settings]}_{each.name}" if settings in _PREFIXES else each.name


def _flag(settings: type[Any], each: "Field[Any]") -> str:
    return _FLAGS.get(each.name, "--" + _dest(settings, each).replace("_", "-"))


def _shown_default(each: "Field[Any]") -> str:
    assert each.default is not MISSING
    return f"{each.default}" if each.default not in ("", None, ()) else ""


def _default(each: "Field[Any]") -> str:
    return f"`{_shown_default(each)}`" if _shown_default(each) else ""


def _parsing(each: "Field[Any]") -> dict[str, Any]:
    """Return how argparse reads the setting."""
    annotation: Any = each.type
    if each.name == _TERMS:
        return {"type": terms_file, "metavar": "FILE"}
    if isinstance(annotation, types.UnionType):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        annotation = str
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    if annotation in (int, float, str):
        choices = option_of(each).choices
        return {"type": annotation, **({"choices": choices} if choices else {"metavar": annotation.__name__})}
    if annotation == Sequence[str]:
        return {"type": listed, "metavar": "NAME,..."}
    return {"type": _json, "metavar": "JSON"}


def listed(text: str) -> tuple[str, ...]:
    """Read `es, de`: what stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def terms_file(path: str) -> tuple[str, ...]:
    """Read the file that --terms names."""
    if not path:
        raise argparse.ArgumentTypeError("got no file, expected one with a name or term a line")
    try:
        return read_terms(path)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected JSON such as [[3, 1], [4, 2]]") from error
