"""The flags of `serve` about dialects: which are spoken, and where."""

import argparse
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from simul_whisper import ConfigError
from streaming.cli.logs import say
from streaming.protocols.catalogue import DEFAULT_NAMES, ENTRIES, NAMES, PORTS

if TYPE_CHECKING:
    from streaming.server.dialects import Dialects

_STREAMS = tuple(entry.name for entry in ENTRIES if entry.is_stream)
_LOOPBACK = "127.0.0.1"
_UNIX, _STDIO = "unix://", "stdio://"


@dataclass(frozen=True)
class Chosen:
    """names: of the dialects. places: where those are that have one of their own: a port, unix://PATH or stdio://."""

    names: tuple[str, ...]
    places: Mapping[str, int | str]


@dataclass
class Places:
    """Sockets by the name of the dialect. listening: where clients come; connected: the one that is there already."""

    listening: dict[str, socket.socket] = field(default_factory=dict)
    connected: dict[str, socket.socket] = field(default_factory=dict)


def add_dialect_flags(parser: argparse.ArgumentParser) -> None:
    with_ports = ", ".join(f"{name} ({port})" for name, port in PORTS.items())
    group = parser.add_argument_group("dialects: what clients of other servers and services speak")
    group.add_argument(
        "--dialects",
        type=_chosen,
        default=Chosen(DEFAULT_NAMES, {}),
        metavar="LIST",
        help=f"those that are spoken, by commas, or all, or none; of {', '.join(NAMES)}; NAME=PORT takes another port "
        f"than the usual one, for {with_ports}; NAME=unix://PATH a Unix socket and NAME=stdio:// stdin and stdout, for "
        f"{', '.join(_STREAMS)} (default: {','.join(DEFAULT_NAMES) or 'none'})",
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
        type=_name,
        metavar="NAME",
        help="the model answers to this name besides its own, where clients must name one "
        "(default: whisper-1 and others of OpenAI's, to which it then answers no more)",
    )


def _chosen(text: str) -> Chosen:
    """Read `deepgram,wyoming=10301`."""
    if text in ("all", "none"):
        return Chosen(NAMES, PORTS) if text == "all" else Chosen((), {})
    places = dict[str, int | str]()
    names = list[str]()
    for item in text.split(","):
        name, _, place = item.strip().partition("=")
        if name in ("all", "none"):
            raise argparse.ArgumentTypeError(f"got {text!r}, but {name} stands alone")
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"got {name!r}, expected all, none, or some of {', '.join(NAMES)}")
        names.append(name)
        if place or name in PORTS:
            places[name] = _place(name, place)
    if list(places.values()).count(_STDIO) > 1:
        raise argparse.ArgumentTypeError(f"got {_STDIO} more than once; there is one stdin")
    return Chosen(tuple(names), places)


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty; leave it out, or fill it")
    return text


def _place(name: str, text: str) -> int | str:
    if not text or (name in PORTS and text.isdecimal()):
        return int(text or PORTS[name])
    if name in _STREAMS and (text == _STDIO or text.removeprefix(_UNIX) not in (text, "")):
        return text
    others = f"{_UNIX}PATH or {_STDIO}, which are for {', '.join(_STREAMS)}"
    raise argparse.ArgumentTypeError(f"got {name}={text}, expected a port, for one of {', '.join(PORTS)}, or {others}")


def dialects_from(options: argparse.Namespace) -> "Dialects":
    from streaming.server.dialects import ALIASES, Dialects

    return Dialects(options.dialects.names, tuple(options.alias or ALIASES))


def dialect_places(options: argparse.Namespace, sockets: ExitStack, *, has_token: bool) -> Places:
    """Listen where the dialects are that have a place of their own, and say so. Raises ConfigError."""
    found = Places()
    for name, place in options.dialects.places.items():
        knows_tokens = name not in _STREAMS
        if isinstance(place, int):
            host = options.dialect_host or (options.host if knows_tokens or not has_token else _LOOPBACK)
            listening = _bound(name, host, place, sockets)
            place = f"{host}:{listening.getsockname()[1]}"
            found.listening[name] = listening
        elif place == _STDIO:
            from streaming.server.standard_streams import standard_streams

            found.connected[name] = sockets.enter_context(standard_streams())
        else:
            found.listening[name] = _bound_path(place.removeprefix(_UNIX), sockets)
        note = "" if knows_tokens or not has_token else ", where no token is asked for"
        say(f"{name} on {place}{note}")
    return found


def _bound(name: str, host: str, port: int, sockets: ExitStack) -> socket.socket:
    from streaming.server.run import bound_socket

    try:
        return sockets.enter_context(bound_socket(host, port))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}; another port is chosen by --dialects {name}=PORT") from error


def _bound_path(path: str, sockets: ExitStack) -> socket.socket:
    from streaming.server.run import bound_unix_socket

    listening = sockets.enter_context(bound_unix_socket(path))
    sockets.callback(Path(path).unlink, missing_ok=True)
    return listening
