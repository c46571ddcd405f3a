"""The flags of `serve` about a proxy in front of it."""

import argparse
import ipaddress
import os
import re
from typing import TYPE_CHECKING

from simul_whisper import ConfigError
from streaming.cli.options import listed

if TYPE_CHECKING:
    from streaming.server.proxy import Proxy

_SEGMENTS = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")
# What uvicorn's own servers know.
_TRUSTED = "FORWARDED_ALLOW_IPS"


def add_proxy_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a proxy in front of it")
    group.add_argument(
        "--root-path",
        type=_root_path,
        default="",
        metavar="PREFIX",
        help="the server is to be found under this path, such as /captions, whether or not the proxy takes it away",
    )
    group.add_argument(
        "--forwarded-allow-ips",
        type=_trusted,
        metavar="ADDRESS,...",
        help="addresses and networks of proxies that are believed when they say where a connection comes from, such as "
        f"10.0.0.2,172.18.0.0/16; none: nobody is; *: anybody is (default: ${_TRUSTED}, or else this machine)",
    )


def proxy_from(options: argparse.Namespace) -> "Proxy":
    """Raises ConfigError."""
    from streaming.server.proxy import Proxy

    trusted = options.forwarded_allow_ips
    return Proxy(options.root_path, _usually_trusted() if trusted is None else trusted)


def _usually_trusted() -> tuple[str, ...]:
    from streaming.server.proxy import LOOPBACK

    try:
        return _trusted(os.environ[_TRUSTED]) if _TRUSTED in os.environ else LOOPBACK
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{_TRUSTED}: {error}") from error


def _root_path(text: str) -> str:
    """Return it with a slash before it and none behind; empty for none."""
    path = text.rstrip("/")
    if path and not _SEGMENTS.fullmatch(path):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a path such as /captions")
    return path


def _trusted(text: str) -> tuple[str, ...]:
    if text.strip() == "none":
        return ()
    for each in listed(text):
        try:
            if each != "*":
                ipaddress.ip_network(each)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"got {each!r}, expected addresses or networks such as 10.0.0.2,172.18.0.0/16, or none, or *: {error}"
            ) from error
    if "*" in listed(text) and len(listed(text)) > 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, but * stands alone")
    return listed(text)
