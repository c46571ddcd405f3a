"""Environment variables in the place of flags: SIMUL_WHISPER_MAX_SESSIONS=8 is --max-sessions 8."""

import argparse
import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from simul_whisper import ConfigError
from streaming.cli.values import from_text

PREFIX = "SIMUL_WHISPER_"
ABOUT = f"Each flag may stand in the environment, too: --max-sessions 8 is {PREFIX}MAX_SESSIONS=8."
# Read by the engine, and no flag.
_OTHERS = (f"{PREFIX}CACHE",)
# Kubernetes and Docker tell containers so where a service is whose name begins with simul-whisper.
_OF_SERVICES = re.compile(rf"{PREFIX}(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def flags_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what can be given as a flag, but for --help."""
    return [each for each in parser._actions if each.option_strings and each.dest != "help"]


def flag_of(action: argparse.Action) -> str:
    """Return the long name of a flag."""
    return next(name for name in action.option_strings if name.startswith("--"))


def variable_of(action: argparse.Action) -> str:
    """Return the name of the variable that stands for a flag."""
    return PREFIX + flag_of(action).lstrip("-").replace("-", "_").upper()


def from_environment(
    parser: argparse.ArgumentParser, given: Collection[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Return what variables set of a command's flags, by destination.

    given: destinations that the command line has set, which win. Raises ConfigError, which names the variable.
    """
    found, is_asked = dict[str, Any](), {}
    for action in flags_of(parser):
        name = variable_of(action)
        if action.dest not in given and name in environment and not _is_of_service(name, environment[name]):
            is_asked[action.dest] = name
            try:
                found[action.dest] = from_text(action, environment[name])
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from error
    for group in parser._mutually_exclusive_groups:
        dests = [action.dest for action in group._group_actions]
        several = [dest for dest in dests if dest in found]
        if any(dest in given for dest in dests):
            # One of them stands on the command line, and wins.
            found = {dest: value for dest, value in found.items() if dest not in several}
        elif len(several) > 1:
            raise ConfigError(f"{' and '.join(is_asked[dest] for dest in several)} exclude each other; unset one")
    return found


def known_variables(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the variables of a parser and of all its commands."""
    yield from map(variable_of, flags_of(parser))
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from known_variables(command)


def strangers(environment: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Return the variables that look like ours and are none of these."""
    ours = (name for name in environment if name.startswith(PREFIX))
    return [
        name
        for name in ours
        if name not in known and name not in _OTHERS and not _is_of_service(name, environment[name])
    ]


def notice_of_stranger(name: str, known: Collection[str]) -> str:
    """Say that nothing reads a variable, and which one may be meant."""
    close = difflib.get_close_matches(name, [*known, *_OTHERS], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"the variable {name} is not one that is read{hint}"


def _is_of_service(name: str, value: str) -> bool:
    return bool(_OF_SERVICES.fullmatch(name)) or (name.endswith("_PORT") and bool(_ADDRESS.match(value)))
