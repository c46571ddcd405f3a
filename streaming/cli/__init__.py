"""The `simul-whisper` command: one module per subcommand."""

import argparse
import logging
import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

from simul_whisper import SimulWhisperError
from streaming.cli.environment import known_variables, notice_of_stranger, strangers
from streaming.cli.parser import Parser
from streaming.output.standard_output import checked_output

# What the engine warns of is shown as progress already.
logging.getLogger("simul_whisper").addHandler(logging.NullHandler())

_USAGE_ERROR = 2
_INTERRUPTED = 130
_COMMANDS = {
    "transcribe": "transcribe or translate audio files, streamed",
    "ask": "answer a question about a recording, with a Voxtral model",
    "listen": "live captions of a microphone",
    "interpret": "speak the translation of a microphone or a recording, with captions beside it",
    "serve": "a server: WebSocket, caption page, health and metrics on one port",
    "connect": "stream a file or a microphone to a server",
    "load": "measure how many listeners a running server can take",
    "bench": "measure quality, delay and cost on recordings with references",
    "models": "list the models that can be loaded by name",
    "voices": "list the voices that can speak, and fetch more of them",
    "coreml": "make and check Core ML packages of encoder and decoder",
}
"""The module of each, of the same name, has `add_arguments`; it is imported when the command is given."""


def parser_of(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser, with the flags of the command that is given; the other commands are only named."""
    given = next((argument for argument in arguments if argument in _COMMANDS), "")
    return _parser((given,), given)


def _parser(chosen: Collection[str], given: str) -> Parser:
    """Return the parser, with the flags of the chosen commands."""
    parser = Parser(prog="simul-whisper", description="Live captions and translation with Whisper, on your machine.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    parser.command = given
    for name, about in _COMMANDS.items():
        command = commands.add_parser(name, help=about)
        if name in chosen:
            import_module(f"{__name__}.{name}").add_arguments(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 2 for bad input, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with checked_output():
            parser = parser_of(arguments)
            options = parser.parse_args(arguments)
            _warn_of_strangers(parser)
            status: int = options.run(options)
    except SimulWhisperError as error:
        print(f"simul-whisper: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe, such as `head`, has seen enough.
        return 0
    return status


def _warn_of_strangers(parser: argparse.ArgumentParser) -> None:
    """Say which variables look like ours, and are flags of no command."""
    if strangers(os.environ, set(known_variables(parser))):
        # Here, because it takes the modules of all commands, whose names the flags of other commands are.
        known = set(known_variables(_parser(_COMMANDS, "")))
        for name in strangers(os.environ, known):
            print(f"simul-whisper: {notice_of_stranger(name, known)}", file=sys.stderr)
