"""Flags of the commands that write what was said: the format, and how captions are cut."""

import argparse
from collections.abc import Mapping

from streaming.cli.options import add_options, options_from
from streaming.output.cues import CaptionOptions
from streaming.output.formats import FORMATS, Format, open_format


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add --format, --times and a flag for every option of captions."""
    parser.add_argument("--format", choices=FORMATS, default="text", help="what is written (default: text)")
    parser.add_argument("--times", action="store_true", help="with --format text: a line per passage, with its times")
    add_options(parser, CaptionOptions, "captions", "How --format srt, vtt and ttml are cut.")


def format_from(
    options: argparse.Namespace,
    language: str | None,
    *,
    name: str | None = None,
    fields: Mapping[str, str] | None = None,
) -> Format:
    """Return the format that the flags ask for; `open_format` says what the rest is. Raises ConfigError."""
    captions = options_from(CaptionOptions, options)
    return open_format(name or options.format, times=options.times, captions=captions, language=language, fields=fields)
