"""The flags of `serve` about models: which there are, what each is for, and when one is given up."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simul_whisper import AlignAttConfig, ConfigError, language_code
from streaming.cli.options import add_options
from streaming.settings import ModelsConfig

# What belongs to the first model alone.
_OF_ONE_MODEL: Mapping[str, Any] = {
    "model_path": "",
    "alignment_heads": (),
    "coreml_encoder_path": None,
    "coreml_decoder_path": None,
}


@dataclass(frozen=True)
class NamedModel:
    """name: by which clients ask for it. source: a known name, a hub id, or a path. is_renamed: the name was given."""

    name: str
    source: str
    is_renamed: bool = False


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("models")
    group.add_argument(
        "--model",
        action="append",
        type=_named_model,
        dest="models",
        metavar="NAME",
        help="an embedded model (tiny.en, base), a known name, or a hub id; NAME=PATH, or a hub id in its place, gives "
        "it a name of yours. Several times: clients choose; the first is theirs who do not, and the others are loaded "
        f"when somebody asks for them (default: {AlignAttConfig.model_name})",
    )
    group.add_argument(
        "--model-for",
        action="append",
        type=_language_and_name,
        default=[],
        metavar="LANGUAGE=NAME",
        help="sessions that name this language, and no model, get that one, such as de=small",
    )
    add_options(parser, ModelsConfig, "several models")


def first_source(options: argparse.Namespace) -> str | None:
    """Return what the first model that was given is loaded from; None where none was."""
    return options.models[0].source if options.models else None


def models_from(options: argparse.Namespace, config: AlignAttConfig) -> Mapping[str, AlignAttConfig]:
    """Return with what each model is loaded, by its name, the first with `config`; none where one alone has no name.

    Raises ConfigError.
    """
    given: list[NamedModel] = options.models or []
    if len(given) < 2 and not any(each.is_renamed for each in given):
        return {}
    if config.model_path:
        raise ConfigError(f"got --model-path beside several models; name it: --model NAME={config.model_path}")
    names = [each.name for each in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"got two models called {twice}; --model NAME=PATH gives one of them another name")
    others = {each.name: replace(config, model_name=each.source, **_OF_ONE_MODEL) for each in given[1:]}
    return {given[0].name: config, **others}


def by_language_from(options: argparse.Namespace) -> Mapping[str, str]:
    """Return the names of models by the languages that they are for. Raises ConfigError."""
    names = [each.name for each in options.models or []]
    for language, name in options.model_for:
        if name not in names:
            known = ", ".join(names) or "none; give --model"
            raise ConfigError(f"got --model-for {language}={name}, expected one of the models: {known}")
    return dict(options.model_for)


def _named_model(text: str) -> NamedModel:
    """Read `small`, or `mine=/models/mine`."""
    if Path(text).expanduser().exists():
        return NamedModel(Path(text).expanduser().resolve().name, text)
    name, is_renamed, source = (part.strip() for part in text.partition("="))
    source = source if is_renamed else name
    if not name or not source or not name.isprintable():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a model such as base, or NAME=PATH")
    return NamedModel(name, source, bool(is_renamed))


def _language_and_name(text: str) -> tuple[str, str]:
    """Read `de=small`."""
    language, _, name = text.partition("=")
    if not language.strip() or not name.strip():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a language and a model, such as de=small")
    try:
        return language_code(language.strip(), may_be_auto=False), name.strip()
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
