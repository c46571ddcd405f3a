"""`simul-whisper ask`: answers a question about a recording."""

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from simul_whisper import AlignAttConfig, ConfigError
from streaming.cli.options import ProgressBar, add_settings, config_from
from streaming.cli.recordings import SOURCES_HELP, add_audio_options, audio_from, opened_recording
from streaming.settings import RecordingConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOADING = (
    "model_name model_path backend encoder_backend coreml_encoder_path coreml_compute_units coreml_download "
    "wait_for_compilation compile_timeout decoder_device quantization fallback_to_float16 download_timeout"
).split()
"""The settings of how a model is loaded; the others are of streaming."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Hear a whole recording, then answer a question about it, in the language of the question. It takes a Voxtral "
        "model: --model mistralai/Voxtral-Mini-3B-2507, one of mlx-community's in 4 bits, or a directory. The answer "
        "goes to standard output while it is written."
    )
    parser.add_argument("file", metavar="FILE", help=SOURCES_HELP)
    parser.add_argument("question", metavar="QUESTION", help='such as "What was decided, and by whom?"')
    parser.add_argument(
        "--most-tokens",
        type=int,
        metavar="N",
        help="cut the answer after so many tokens (default: 1000)",
    )
    add_audio_options(parser)
    add_settings(parser, without=[each.name for each in fields(AlignAttConfig) if each.name not in _LOADING])
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config, audio = config_from(options), audio_from(options)
    if audio.channels == "separate":
        raise ConfigError("a question is about one voice or the mix of all; leave out --channels separate")
    if not options.question.strip():
        raise ConfigError("got an empty question")
    limit = {} if options.most_tokens is None else {"most_tokens": options.most_tokens}
    if options.most_tokens is not None and options.most_tokens < 1:
        raise ConfigError(f"got --most-tokens {options.most_tokens}, expected at least 1")
    samples = _samples(options.file, audio)
    # Here, because `--help`, bad flags and bad files do without the engine.
    from simul_whisper import load_model

    bar = ProgressBar()
    try:
        model = load_model(config, bar)
        generation = model.generation()
        print(f"simul-whisper: {model.name}: {model.info.pipeline}", file=sys.stderr)
        features = generation.features(samples, bar)
    finally:
        bar.close()
    # After the model, which says what to install where Voxtral cannot be used.
    from simul_whisper import Ending

    written = None
    try:
        for written in generation.answer(features, options.question, **limit):
            print(written.text, end="", flush=True)
    finally:
        if written:
            print()
    if written and written.ending is Ending.CUT:
        print("simul-whisper: the answer was cut; --most-tokens allows a longer one", file=sys.stderr)
    return 0


def _samples(source: str, audio: RecordingConfig) -> "NDArray[np.float32]":
    """Return all of a recording, float32 (n,), mono, 16 kHz."""
    with opened_recording(source, audio) as recording:
        [heard] = recording.sources
        return np.concatenate(list(heard.blocks))
