"""`simul-whisper models`: what is embedded, cached and known."""

import argparse

from simul_whisper import ModelEntry, list_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    for entry in list_models():
        print(f"{entry.kind.value:9} {entry.name:45} {_size(entry):>8}  {entry.location}")
    return 0


def _size(entry: ModelEntry) -> str:
    return "" if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.0f} MB"
