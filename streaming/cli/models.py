"""`simul-whisper models`: what is embedded, cached and known, and under which licence translators are."""

import argparse

from simul_whisper import ModelEntry, TranslatorEntry, list_models, list_translators


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    for entry in list_models():
        print(f"{entry.kind.value:9} {entry.name:45} {_size(entry):>8}  {entry.location}")
    print("\ntranslators of text, for [translation]")
    for each in list_translators():
        kind = "cached" if each.is_cached else "known"
        print(f"{kind:9} {each.name:45} {_about(each):>8}  {each.location}  ({each.licence})")
    return 0


def _size(entry: ModelEntry) -> str:
    return "" if entry.size_bytes is None else f"{entry.size_bytes / 1e6:.0f} MB"


def _about(entry: TranslatorEntry) -> str:
    return f"{'' if entry.is_cached else '~'}{entry.size_bytes / 1e6:.0f} MB"
