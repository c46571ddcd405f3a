"""`simul-whisper coreml`: Core ML packages of the encoder."""

import argparse
import sys
from pathlib import Path
from typing import Any

from simul_whisper import ModelNotFoundError
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.locate import fetched_package, is_on_hub
from simul_whisper.coreml.package import convert_model
from streaming.cli import coreml_check
from streaming.cli.options import ProgressBar, add_options, options_from

_ABOUT_CONVERT = (
    "Write the encoder of a model as ggml-NAME-encoder.mlpackage, on any machine and without PyTorch; on macOS it is "
    "compiled as well. A model with the same encoder as one converted before, such as a distilled one, gets a link."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    subcommands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_convert(subcommands)
    _add_fetch(subcommands)
    coreml_check.add_commands(subcommands)


def _add_convert(commands: Any) -> None:
    parser = commands.add_parser("convert", help="convert a model's encoder", description=_ABOUT_CONVERT)
    parser.add_argument("model", metavar="MODEL", help="a name, hub id or directory, as for transcribe --model")
    parser.add_argument(
        "--output", type=Path, default=Path("models"), metavar="DIR", help="where to put it (default: ./models)"
    )
    add_options(parser, Conversion, "the package")
    parser.set_defaults(run=convert)


def _add_fetch(commands: Any) -> None:
    parser = commands.add_parser("fetch", help="download a well-known model's encoder, compiled, from the hub")
    parser.add_argument("model", metavar="MODEL", help="such as base.en or large-v3-turbo")
    parser.set_defaults(run=fetch)


def fetch(options: argparse.Namespace) -> int:
    bar = ProgressBar()
    try:
        found = fetched_package(options.model, bar) if is_on_hub(options.model) else None
    finally:
        bar.close()
    if found is None:
        raise ModelNotFoundError(
            f"{options.model}: the hub has no Core ML encoder of it; make one with: simul-whisper coreml convert MODEL"
        )
    print(found)
    return 0


def convert(options: argparse.Namespace) -> int:
    coreml_check.silence_coremltools()
    conversion = options_from(Conversion, options)
    bar = ProgressBar()
    try:
        converted = convert_model(options.model, options.output, conversion, bar)
    finally:
        bar.close()
    if converted.linked_to:
        said = f"the encoder of {options.model} is the one in {converted.linked_to.name}; linked, not converted again"
    else:
        said = f"converted in {converted.duration_s:.1f} s, {converted.size_bytes / 1e6:.1f} MB"
    if converted.psnr_db is not None:
        said += f", {converted.psnr_db:.1f} dB from MLX's features with {conversion.quantize}"
    print(f"simul-whisper: {said}", file=sys.stderr)
    for path in (converted.path, converted.compiled):
        if path:
            print(path)
    return 0
