"""The parser of all commands: what no flag says may be said by the environment, or by the file of --config.

Flags win over the environment, that over the file, and all over the defaults.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NoReturn

from streaming.cli.environment import ABOUT, flags_of, from_environment
from streaming.cli.settings_file import flags_from, settings_file

_USAGE_ERROR = 2


class Source(Enum):
    """Who has said what an option is; the `sources` of the options have it, but for defaults."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"


class Parser(argparse.ArgumentParser):
    """Refuses bad flags in one line.

    command: what is given, whose help has the flags that the parser of all lacks. table: of the file, which holds flags
    of this command; empty for none.
    """

    command = table = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"epilog": ABOUT, **options})

    def error(self, message: str) -> NoReturn:
        name = f"{self.prog} {self.command}".rstrip()
        self.exit(_USAGE_ERROR, f"{name}: {message}; see {name} --help\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse has it, which calls it for the command that is given, too. Raises ConfigError."""
        asked = namespace or argparse.Namespace()
        # Each destination has an empty list of its own until a flag puts something in its place.
        unset = {action.dest: list[Any]() for action in flags_of(self)}
        for dest, nothing in unset.items():
            setattr(asked, dest, nothing)
        parsed, rest = super().parse_known_args(args, asked)
        for dest, nothing in unset.items():
            if getattr(parsed, dest) is nothing:
                delattr(parsed, dest)
        sources = dict.fromkeys((dest for dest in unset if hasattr(parsed, dest)), Source.FLAG)
        of_environment = _fill(parsed, from_environment(self, sources, os.environ))
        sources |= dict.fromkeys(of_environment, Source.ENVIRONMENT)
        if self.table:
            of_file = _fill(parsed, flags_from(settings_file(parsed), self.table, flags_of(self)))
            sources |= dict.fromkeys(of_file, Source.FILE)
        _fill(parsed, self._defaults_of_flags())
        # Those of the command that is given are there already.
        parsed.sources = {**getattr(parsed, "sources", {}), **sources}
        return parsed, rest

    def _defaults_of_flags(self) -> dict[str, Any]:
        chosen = [action for action in flags_of(self) if action.default is not argparse.SUPPRESS]
        return {action.dest: action.default for action in reversed(chosen)}


def _fill(options: argparse.Namespace, values: Mapping[str, Any]) -> list[str]:
    """Set what is not set yet; return which these are."""
    unset = [dest for dest in values if not hasattr(options, dest)]
    for dest in unset:
        setattr(options, dest, values[dest])
    return unset
