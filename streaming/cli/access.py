"""The flags of `serve` about who may come in, and how nobody else reads along."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from simul_whisper import ConfigError
from streaming.cli.environment import PREFIX
from streaming.cli.logs import say
from streaming.cli.parser import Source

if TYPE_CHECKING:
    from streaming.server.access import Access
    from streaming.server.tls import Tls
    from streaming.server.tokens import Tokens

_TOKEN = f"{PREFIX}TOKEN"
_SHORT_TOKEN_CHARS = 16
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_access_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token",
        help=f"the token that clients must send; safer in ${_TOKEN}, which other users of this machine cannot see",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="more tokens: lines with a name, a space and a token; SIGHUP makes the server read the file again",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate, PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="its key, PEM, unless it is in the same file")
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="let web pages from this address connect, too; * lets all",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer to this name, too, besides the machine's own; * lets all",
    )


def access_from(options: argparse.Namespace) -> "Access":
    """Return who may come in, and say what is careless about it. Raises ConfigError."""
    from streaming.server.access import Access, own_names

    tokens, path = _tokens(options), options.token_file
    is_short = any(len(token) < _SHORT_TOKEN_CHARS for token in tokens.values.values())
    if options.host not in _LOOPBACK and not tokens:
        say("anybody who can reach this machine may connect; set --token to require a token")
    elif options.host not in _LOOPBACK and is_short:
        say(f"the token is short enough to be guessed; use {_SHORT_TOKEN_CHARS} characters or more, at random")
    hosts = (*own_names(options.host), *own_names(options.admin_host), *options.allowed_host)
    return Access(tokens, tuple(options.origin), hosts, (lambda: _tokens(options)) if path else None)


def _tokens(options: argparse.Namespace) -> "Tokens":
    """Raises ConfigError."""
    from streaming.server.tokens import Tokens, both, one_token, read_tokens

    tokens, source = Tokens(), options.sources.get("token")
    if options.token is not None:
        named = {Source.ENVIRONMENT: f"${_TOKEN}", Source.FILE: f"{options.config}: [server] token"}
        tokens = one_token(options.token, named.get(source, "--token"))
    if source is Source.FILE:
        _warn_of_readers(Path(options.config))
    if options.token_file is None:
        return tokens
    tokens = both(tokens, read_tokens(options.token_file))
    _warn_of_readers(options.token_file)
    return tokens


def _warn_of_readers(path: Path) -> None:
    from streaming.server.tokens import can_be_read_by_others

    if can_be_read_by_others(path):
        say(f"{path} can be read by all users of this machine; chmod o-r makes it yours")


def tls_from(options: argparse.Namespace) -> "Tls | None":
    from streaming.server.tls import Tls

    if options.tls_key and not options.tls_cert:
        raise ConfigError("--tls-key needs --tls-cert")
    return Tls(options.tls_cert, options.tls_key) if options.tls_cert else None
