"""What clients may ask for: a flag that changes some of it, over the table of the file."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from simul_whisper import ConfigError, from_mapping
from streaming.cli.settings_file import settings_file
from streaming.settings import ClientLimits


def add_client_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--client-limits",
        type=_values,
        default={},
        metavar="NAME=VALUE,...",
        help=f"what clients may ask for (default: {_shown(ClientLimits())})",
    )


def client_limits_from(options: argparse.Namespace) -> ClientLimits:
    """Return those of the file, changed by the flag. Raises ConfigError."""
    source, table = settings_file(options).table_of(ClientLimits)
    return replace(from_mapping(ClientLimits, table, source), **options.client_limits)


def _values(text: str) -> Mapping[str, Any]:
    """Read `beam_size=2,prompt_chars=200`."""
    try:
        values = {name.strip(): json.loads(value) for name, value in (pair.split("=") for pair in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected name=number,... such as beam_size=2") from error
    try:
        from_mapping(ClientLimits, values, "--client-limits")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return values


def _shown(limits: ClientLimits) -> str:
    return ",".join(f"{name}={value:g}" for name, value in asdict(limits).items())
