"""`simul-whisper coreml`: Core ML packages of the encoder, the decoder and a voice's vocoder."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from simul_whisper import AlignAttConfig, ConfigError
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.fetch import fetch_encoder
from simul_whisper.coreml.locate import own_directory
from simul_whisper.coreml.package import Converted, Part
from simul_whisper.voxtral.conversion import VoxtralPart, convert_any, find_voxtral, voxtral_part
from simul_whisper.voxtral.extraction import extract
from streaming.cli import coreml_check
from streaming.cli.options import ProgressBar, add_options, options_from

_ABOUT_CONVERT = (
    "Write the encoder of a model as ggml-NAME-encoder.mlpackage, its decoder as ggml-NAME-decoder.mlpackage, on any "
    "machine and without PyTorch; on macOS they are compiled as well. A model with the same encoder as one converted "
    "before, such as a distilled one, gets a link to that. The decoder of macOS15 keeps its caches itself; for older "
    "systems its functions are three packages. Of a Piper voice, --part vocoder writes ggml-NAME-vocoder.mlpackage. Of "
    "a Voxtral model it is encoder and projector, ggml-NAME-encoder-projector.mlpackage; what writes text runs in MLX."
)
_ABOUT_FETCH = (
    "Download the Core ML encoder of a well-known model from the Hugging Face hub, compiled, as WhisperKit or "
    "whisper.cpp publish it. A distilled model gets its parent's, which is its own too. Where the model's weights are "
    "on this machine, those of the package are compared with them, and another encoder is refused."
)


def _all_but(setting: str) -> list[str]:
    return [each.name for each in fields(AlignAttConfig) if each.name != setting]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    subcommands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_convert(subcommands)
    _add_fetch(subcommands)
    coreml_check.add_commands(subcommands)


def _add_convert(commands: Any) -> None:
    parser = commands.add_parser(
        "convert", help="convert a model's encoder or decoder, or a voice's vocoder", description=_ABOUT_CONVERT
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a name, hub id or directory, as for transcribe --model; for a vocoder a voice: VOICE.onnx, or its name",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--output", type=Path, default=Path("models"), metavar="DIR", help="where to put it (default: ./models)"
    )
    place.add_argument(
        "--beside-weights", action="store_true", help="put it into MODEL, a directory, where it is always found"
    )
    parser.add_argument("--name", help="what to call it: ggml-NAME-encoder.mlpackage (default: the model's own name)")
    place.add_argument(
        "--extract",
        type=Path,
        metavar="FILE",
        help="of a Voxtral model: write the weights of the encoder, or with --part encoder+projector of both, to a "
        "safetensors file with Hugging Face's names, and convert nothing",
    )
    parser.add_argument(
        "--part",
        choices=dict.fromkeys(get_args(Part) + get_args(VoxtralPart)),
        help="what to convert (default: encoder; of a Voxtral model encoder+projector)",
    )
    add_options(parser, Conversion, "the package")
    add_options(parser, AlignAttConfig, "the decoder", without=_all_but("alignment_heads"))
    parser.set_defaults(run=convert)


def _add_fetch(commands: Any) -> None:
    parser = commands.add_parser(
        "fetch", help="download a well-known model's encoder, compiled", description=_ABOUT_FETCH
    )
    parser.add_argument("model", metavar="MODEL", help="such as base.en or large-v3-turbo")
    add_options(parser, AlignAttConfig, "the hub", without=_all_but("download_timeout"))
    parser.set_defaults(run=fetch)


def fetch(options: argparse.Namespace) -> int:
    timeout_s = options_from(AlignAttConfig, options).validated().download_timeout
    bar = ProgressBar()
    try:
        found = fetch_encoder(options.model, bar, timeout_s)
    finally:
        bar.close()
    print(f"simul-whisper: {found.comparison}", file=sys.stderr)
    print(found.path)
    return 0


def convert(options: argparse.Namespace) -> int:
    if options.extract:
        return _extract(options)
    coreml_check.silence_coremltools()
    conversion = options_from(Conversion, options)
    pairs = options_from(AlignAttConfig, options).validated().alignment_heads
    heads = tuple((layer, head) for layer, head in pairs) or None
    bar = ProgressBar()
    try:
        made = convert_any(
            options.model,
            own_directory(options.model) if options.beside_weights else options.output,
            conversion,
            bar,
            part=options.part,
            alignment_heads=heads,
            name=options.name,
        )
    finally:
        bar.close()
    for each in made:
        print(f"simul-whisper: {_said(each, options.model)}", file=sys.stderr)
        for path in (each.path, each.compiled, *each.beside):
            if path:
                print(path)
    return 0


def _extract(options: argparse.Namespace) -> int:
    if options_from(Conversion, options) != Conversion() or options.name:
        raise ConfigError("--extract writes weights as they are; leave out what is of packages, such as --quantize")
    bar = ProgressBar()
    try:
        weights = find_voxtral(options.model, bar)
        if weights is None:
            raise ConfigError(f"{options.model}: this is no Voxtral model; --extract is for these")
        size_bytes = extract(weights, options.extract, voxtral_part(options.part or "encoder"), bar)
    finally:
        bar.close()
    print(f"simul-whisper: {options.extract.name}: {size_bytes / 1e6:.1f} MB", file=sys.stderr)
    print(options.extract)
    return 0


def _said(converted: Converted, model: str) -> str:
    if converted.linked_to:
        return f"the encoder of {model} is the one in {converted.linked_to.name}; linked, not converted again"
    likeness = "" if converted.psnr_db is None else f", {converted.psnr_db:.1f} dB from MLX"
    size = f"{converted.size_bytes / 1e6:.1f} MB"
    return f"{converted.path.name}: converted in {converted.duration_s:.1f} s, {size}{likeness}"
