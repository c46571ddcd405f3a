"""`simul-whisper voices`: what can speak, in which languages, under which licence; fetches what pip cannot install."""

import argparse

from simul_whisper import VoiceEntry, fetch_voice, list_voices
from streaming.cli.options import ProgressBar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fetch", metavar="NAME", help="kokoro: fetch 54 more speakers for it, 27 MB, by the program npm"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.fetch:
        print(fetch_voice(options.fetch, ProgressBar()))
        return 0
    for entry in list_voices():
        kind = "installed" if entry.is_installed else "known"
        print(f"{kind:9} {entry.name:30} {' '.join(entry.languages):20} {entry.licence:12}  {_where(entry)}")
    return 0


def _where(entry: VoiceEntry) -> str:
    speakers = f"  (speakers: {' '.join(entry.speakers)})" if entry.speakers else ""
    return f"{entry.location}{speakers}"
