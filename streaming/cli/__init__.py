"""The `simul-whisper` command: one module per subcommand."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from simul_whisper import SimulWhisperError
from streaming.cli import bench, connect, coreml, listen, load, models, serve, transcribe
from streaming.output.standard_output import checked_output

_USAGE_ERROR = 2
_INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """Refuses bad flags in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 2 for bad input, 130 after Ctrl-C."""
    parser = _Parser(prog="simul-whisper", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (transcribe, listen, serve, connect, load, bench, models, coreml):
        module.add_command(commands)
    try:
        with checked_output():
            options = parser.parse_args(arguments)
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
