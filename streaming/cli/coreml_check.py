"""`simul-whisper coreml verify` and `coreml info`: what a Core ML package answers, and what it is made of."""

import argparse
import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from simul_whisper import SAMPLE_RATE, AlignAttConfig, BackendError, ConfigError, option_of
from simul_whisper.coreml.contents import contents
from simul_whisper.coreml.description import Description, Feature, describe
from simul_whisper.coreml.plan import planned
from simul_whisper.coreml.runtime import AppleRuntime, default_runtime
from simul_whisper.coreml.verify import Verification, is_vocoder, verify
from simul_whisper.coreml.vocoder_package import voice_file
from simul_whisper.voxtral.conversion import find_voxtral
from simul_whisper.voxtral.verify import verify_voxtral
from streaming.audio.files import read_audio
from streaming.cli.coreml_plan import plan_lines
from streaming.cli.options import ProgressBar, add_settings, config_from

_BOUND_MISSED = 1
_UNITS = next(option_of(each).choices for each in fields(AlignAttConfig) if each.name == "coreml_compute_units")
_SPEECH = Path(__file__).parents[2] / "demos" / "recordings" / "captions.flac"
_TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps until the morning."
_ABOUT_VERIFY = (
    "Compare a package with MLX's encoder or decoder on real speech: the features, or logits and attention of 50 "
    "tokens, and the streamed text. On a Mac the package runs in Core ML, elsewhere in our own runtime, which rounds "
    "as float16 does; a decoder in float16 is then computed in float32 too. The exit status is 1 below 100 dB in "
    "float32 or 60 dB in float16; compressed weights are measured only. A vocoder is compared with ONNX Runtime: what "
    "its voice says, and what Whisper hears of it; there the bounds are 60 and 35 dB. Of a Voxtral model the vectors "
    "that its language model reads are compared, and no text."
)


def add_commands(commands: Any) -> None:
    verify_parser = commands.add_parser("verify", help="compare a package with MLX or ONNX", description=_ABOUT_VERIFY)
    verify_parser.add_argument("package", type=Path, metavar="PACKAGE", help="an .mlpackage; on a Mac also .mlmodelc")
    verify_parser.add_argument("--audio", type=Path, metavar="FILE", help="speech (default: a recording of the clone)")
    verify_parser.add_argument("--voice", help="of a vocoder: its voice, by name or as a Piper .onnx file")
    verify_parser.add_argument("--text", default=_TEXT, help="of a vocoder: what the voice says (default: %(default)r)")
    add_settings(verify_parser)
    verify_parser.set_defaults(run=run_verify)
    info_parser = commands.add_parser("info", help="show what a package takes, gives and is made of")
    info_parser.add_argument("package", type=Path, metavar="PACKAGE", help="an .mlpackage or .mlmodelc")
    info_parser.add_argument(
        "--compute-units",
        choices=_UNITS,
        default=_UNITS[0],
        help="on a Mac: what its plan may run on (default: %(default)s)",
    )
    info_parser.add_argument(
        "--plan",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on a Mac: also ask Core ML where each operator is to run, which takes minutes for large models",
    )
    info_parser.set_defaults(run=run_info)


def run_verify(options: argparse.Namespace) -> int:
    silence_coremltools()
    bar = ProgressBar()
    try:
        found, heard = (_verified_vocoder if options.voice else _verified)(options, bar)
    finally:
        bar.close()
    print(f"package   {options.package.name}, {found.part}, {found.number_type.value}, run by {found.runtime}")
    print(heard)
    for each in found.measured:
        print(
            f"{each.what:<9} PSNR {each.parity.psnr_db:.1f} dB, largest difference {each.parity.largest_difference:.2g}"
            + (f", computed in {each.number_type.value}" if each.number_type is not found.number_type else "")
        )
    for line in _text_lines(found):
        print(line)
    print(f"verdict   {_verdict(found)}")
    return 0 if found.passed else _BOUND_MISSED


def _verified(options: argparse.Namespace, bar: ProgressBar) -> tuple[Verification, str]:
    """Return what was found of an encoder or a decoder, and a line about the speech."""
    audio = options.audio or _SPEECH
    if not audio.exists():
        raise ConfigError(f"{audio}: no such recording; give --audio FILE with speech")
    if options.package.exists() and is_vocoder(describe(options.package)):
        raise ConfigError(f"{options.package} is a vocoder; give --voice with its voice, a name or an .onnx file")
    samples, config = read_audio(audio), config_from(options)
    if voxtral := find_voxtral(config.model_path or config.model_name, bar):
        units = config.validated().coreml_compute_units
        found = verify_voxtral(options.package, voxtral, samples, units, progress=bar)
    else:
        found = verify(options.package, samples, config, progress=bar)
    return found, f"audio     {audio.name}, {len(samples) / SAMPLE_RATE:.1f} s"


def _verified_vocoder(options: argparse.Namespace, bar: ProgressBar) -> tuple[Verification, str]:
    """Return what was found of a vocoder, and a line about its voice."""
    try:
        from simul_whisper.coreml.verify_vocoder import verify_vocoder
    except ImportError as error:
        raise BackendError(f"voices cannot be used: {error}; pip install 'simul-whisper[voice]'") from error
    voice = voice_file(options.voice)
    found = verify_vocoder(options.package, voice, options.text, config_from(options), progress=bar)
    return found, f"voice     {voice.stem}: {options.text}"


def _text_lines(found: Verification) -> list[str]:
    if not found.reference_text and not found.text:
        return []
    if found.text == found.reference_text:
        return [f"text      the same with both {found.part}s: {found.text}"]
    reference = "onnx" if found.part == "vocoder" else "mlx"
    return [
        f"text      {100 * found.equal_words:.1f} % of the words equal",
        f"  {reference:<7} {found.reference_text}",
        f"  package {found.text}",
    ]


def _verdict(found: Verification) -> str:
    bounds = {each.number_type.value: each.bound_db for each in found.measured if each.bound_db is not None}
    if not bounds:
        return f"measured only: there is no bound for {found.number_type.value}"
    said = "passed" if found.passed else "FAILED"
    return f"{said}: expected at least {' and '.join(f'{bound:g} dB of {name}' for name, bound in bounds.items())}"


def run_info(options: argparse.Namespace) -> int:
    silence_coremltools()
    found, inside = describe(options.package), contents(options.package)
    print(f"{found.path.name}: {found.size_bytes / 1e6:.1f} MB, sha256 {found.digest}")
    for line in _interface(found):
        print(line)
    for name, value in sorted(found.metadata.items()):
        print(f"metadata  {name}: {value}")
    print(f"products  {inside.number_type.value}")
    counted = ", ".join(f"{name} {count}" for name, count in inside.histogram.items())
    print(f"contents  {counted or 'unknown: the model has no text of its program'}")
    for flag in inside.flags:
        print(f"flag      {flag}")
    if not inside.flags:
        print("flag      none: nothing is known to keep it off the Neural Engine; only the device can tell")
    runtime = default_runtime()
    if options.plan and isinstance(runtime, AppleRuntime):
        # A compilation for the device may take long, and has ended processes.
        sys.stdout.flush()
        _print_plan(options.package, options.compute_units, runtime)
    return 0


def _print_plan(package: Path, compute_units: str, runtime: AppleRuntime) -> None:
    try:
        for line in plan_lines(planned(package, compute_units, runtime), compute_units):
            print(line)
    except BackendError as error:
        print(f"plan      none: {error}")


def _interface(found: Description) -> list[str]:
    lines = []
    for number, function in enumerate(found.functions or (found.function(),)):
        if found.functions:
            lines.append(f"function  {function.name}{'' if number else ', the default'}")
        for kind, features in (("input", function.inputs), ("output", function.outputs), ("state", function.states)):
            lines += [f"{kind:<9} {_feature(each)}" for each in features]
    return lines


def _feature(feature: Feature) -> str:
    default = f", by default {feature.shapes[0]}" if feature.ranges and feature.shapes else ""
    return f"{feature.name}: {feature.dtype} {feature.accepted or 'of a shape that depends on the input'}{default}"


def silence_coremltools() -> None:
    """It warns of each Apple library that other systems do not have, and of scikit-learn's version."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
