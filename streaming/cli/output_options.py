"""Flags of the commands that write what was said: the format, and how captions are cut."""

import argparse
from collections.abc import Mapping, Sequence

from streaming.cli.options import add_options, options_from
from streaming.output.cues import CaptionOptions
from streaming.output.formats import CAPTION_FORMATS, FORMATS, Format, open_format
from streaming.output.texts import TRANSCRIPT


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
    texts: Sequence[str] = (TRANSCRIPT,),
) -> Format:
    """Return the format that the flags ask for; `open_format` says what the rest is. Raises ConfigError."""
    captions = options_from(CaptionOptions, options)
    return open_format(
        name or options.format, times=options.times, captions=captions, language=language, fields=fields, texts=texts
    )


def texts_apart(format_name: str, targets: Sequence[str]) -> list[tuple[str, ...]]:
    """Return which texts go together: the transcript with all translations, but captions are a file each."""
    texts = (TRANSCRIPT, *targets)
    return [(text,) for text in texts] if format_name in CAPTION_FORMATS else [texts]
