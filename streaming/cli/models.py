"""`simul-whisper models`: what is embedded, cached and known, and under which licence; fetches it ahead of time."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from simul_whisper import (
    AlignAttConfig,
    ConfigError,
    ModelEntry,
    ModelNotFoundError,
    SimulWhisperError,
    TranslatorEntry,
    fetch_voice,
    list_models,
    list_translators,
    list_voices,
    model_directory,
    translator_directory,
)
from streaming.cli.options import ProgressBar, add_options, options_from

_TIMEOUT = "download_timeout"
_FAILED = 1
# The one voice that is fetched, and not installed by pip.
_FETCHED_VOICE = "kokoro"
_ABOUT_FETCH = (
    "Download models ahead of time, so that no listener waits for them and no server needs the network; what is here "
    "already is only looked for. Prints where each is, one a line."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run)
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.add_parser("list", help="list them, as without a command").set_defaults(run=run)
    fetching = commands.add_parser("fetch", help="download models ahead of time", description=_ABOUT_FETCH)
    fetching.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a name of `simul-whisper models`, a hub id (owner/name), or a voice of `simul-whisper voices`",
    )
    fetching.add_argument("--translator", action="store_true", help="hub ids are those of translators")
    without = [each.name for each in fields(AlignAttConfig) if each.name != _TIMEOUT]
    add_options(fetching, AlignAttConfig, "the hub", without=without)
    fetching.set_defaults(run=fetch)


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    for entry in list_models():
        print(f"{entry.kind.value:9} {entry.name:45} {_size(entry):>8}  {entry.location}")
    print("\ntranslators of text, for [translation]")
    for each in list_translators():
        kind = "cached" if each.is_cached else "known"
        print(f"{kind:9} {each.name:45} {_about(each):>8}  {each.location}  ({each.licence})")
    return 0


def fetch(options: argparse.Namespace) -> int:
    """The exit status is 1 when something could not be had; the others are fetched all the same."""
    timeout_s, status = options_from(AlignAttConfig, options).validated().download_timeout, 0
    for name in options.names:
        bar = ProgressBar()
        try:
            place = _fetched(name, bar, timeout_s, is_translator=options.translator)
        except SimulWhisperError as error:
            bar.close()
            print(f"simul-whisper: {error}", file=sys.stderr)
            status = _FAILED
        else:
            bar.close()
            print(place, flush=True)
    return status


def _fetched(name: str, bar: ProgressBar, timeout_s: float, *, is_translator: bool) -> Path:
    """Return where what is called so is, after downloading it where need be. Raises ModelNotFoundError and others."""
    if Path(name).expanduser().exists():
        raise ConfigError(f"{name}: this is here already; expected a name or a hub id")
    if is_translator or _is_translator(name):
        return translator_directory(name, bar)
    voice = next((voice for voice in list_voices() if voice.name == name), None)
    if voice is None:
        return model_directory(name, progress=bar, timeout_s=timeout_s)
    if name == _FETCHED_VOICE:
        return fetch_voice(name, bar)
    if not voice.is_installed:
        raise ModelNotFoundError(f"the voice {name} is not installed; {voice.location}")
    return Path(voice.location)


def _is_translator(name: str) -> bool:
    """Whether it is one of those known; the names of some end with the languages."""
    starts = [entry.name.partition("{")[0] for entry in list_translators() if "/" not in entry.name]
    return any(name == start or (start.endswith("-") and name.startswith(start)) for start in starts)


def _size(entry: ModelEntry) -> str:
    return "" if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.0f} MB"


def _about(entry: TranslatorEntry) -> str:
    return f"{'' if entry.is_cached else '~'}{entry.size_bytes / 1e6:.0f} MB"
