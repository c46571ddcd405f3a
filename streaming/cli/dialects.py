"""The flags of `serve` about dialects: which are spoken, and where."""

import argparse
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simul_whisper import ConfigError
from streaming.protocols.catalogue import DEFAULT_NAMES, ENTRIES, NAMES

if TYPE_CHECKING:
    from streaming.server.dialects import Dialects

_PORTS = {entry.name: entry.port for entry in ENTRIES if entry.port}
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Chosen:
    """names: of the dialects. ports: of those that have one of their own."""

    names: tuple[str, ...]
    ports: Mapping[str, int]


def add_dialect_flags(parser: argparse.ArgumentParser) -> None:
    with_ports = ", ".join(f"{name} ({port})" for name, port in _PORTS.items())
    group = parser.add_argument_group("dialects: what clients of other servers and services speak")
    group.add_argument(
        "--dialects",
        type=_chosen,
        default=Chosen(DEFAULT_NAMES, {}),
        metavar="LIST",
        help=f"those that are spoken, by commas, or all, or none; of {', '.join(NAMES)}; NAME=PORT takes another port "
        f"than the usual one, for {with_ports} (default: {','.join(DEFAULT_NAMES) or 'none'})",
    )
    group.add_argument(
        "--dialect-host",
        metavar="ADDRESS",
        help="address of the dialects that have ports of their own (default: that of --host; with a token, "
        "those that cannot ask for it are on this machine only)",
    )
    group.add_argument(
        "--alias",
        action="append",
        metavar="NAME",
        help="the model answers to this name, too, where clients must name one "
        "(default: what clients of services ask for by themselves)",
    )


def _chosen(text: str) -> Chosen:
    """Read `deepgram,wyoming=10301`."""
    if text in ("all", "none"):
        return Chosen(NAMES, _PORTS) if text == "all" else Chosen((), {})
    ports = dict[str, int]()
    names = list[str]()
    for item in text.split(","):
        name, _, port = item.strip().partition("=")
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"got {name!r}, expected all, none, or some of {', '.join(NAMES)}")
        if port and (name not in _PORTS or not port.isdecimal()):
            raise argparse.ArgumentTypeError(f"got {item!r}, expected a number, for one of {', '.join(_PORTS)}")
        names.append(name)
        if name in _PORTS:
            ports[name] = int(port) if port else _PORTS[name]
    return Chosen(tuple(names), ports)


def dialects_from(options: argparse.Namespace) -> "Dialects":
    from streaming.server.dialects import ALIASES, Dialects

    return Dialects(options.dialects.names, tuple(options.alias or ALIASES))


def dialect_sockets(options: argparse.Namespace, sockets: ExitStack, *, has_token: bool) -> dict[str, socket.socket]:
    """Listen at the ports of their own, and say so. Raises ConfigError."""
    from streaming.server.run import bound_socket

    found = dict[str, socket.socket]()
    for name, port in options.dialects.ports.items():
        knows_tokens = not any(entry.is_stream for entry in ENTRIES if entry.name == name)
        host = options.dialect_host or (options.host if knows_tokens or not has_token else _LOOPBACK)
        try:
            listening = sockets.enter_context(bound_socket(host, port))
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}; another port is chosen by --dialects {name}=PORT") from error
        note = "" if knows_tokens or not has_token else ", where no token is asked for"
        where = f"{host}:{listening.getsockname()[1]}{note}"
        print(f"simul-whisper: {name} on {where}", file=sys.stderr, flush=True)
        found[name] = listening
    return found
