"""`simul-whisper serve`: captions for many, over WebSockets, with a page."""

import argparse
import json
import os
import socket
import sys
import threading
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from simul_whisper import BackendError, ConfigError, TranslationConfig, from_mapping
from streaming.cli.dialects import add_dialect_flags, dialect_places, dialects_from
from streaming.cli.logs import server_log
from streaming.cli.options import (
    Configs,
    ProgressBar,
    add_options,
    add_settings,
    add_translation_settings,
    add_voice_settings,
    configs_from,
    options_from,
)
from streaming.cli.pools import SWITCH_S, add_pool_flags, pool_from
from streaming.cli.speech import add_speech_settings, opened_voices, speech_from
from streaming.cli.translation import loaded_translator
from streaming.server.limits import Limits
from streaming.settings import ClientLimits, WorkerConfig

if TYPE_CHECKING:
    from streaming.server.access import Access
    from streaming.server.registry import SessionRegistry
    from streaming.server.run import Server
    from streaming.server.speech import Speech
    from streaming.server.tls import Tls
    from streaming.server.tokens import Tokens
    from streaming.server.translations import Translations
    from streaming.sessions.pool import RunningPool

_TOKEN = "SIMUL_WHISPER_TOKEN"
_SHORT_TOKEN_CHARS = 16
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0 takes any that is free (default: 8000)"
    )
    _add_access(parser)
    parser.add_argument(
        "--admin-port", type=int, help="a port of its own for /health and /metrics; /metrics is then there only"
    )
    parser.add_argument("--admin-host", default="127.0.0.1", help="address of that port (default: 127.0.0.1)")
    add_dialect_flags(parser)
    add_options(parser, Limits, "limits")
    add_options(parser, WorkerConfig, "the thread that serves all sessions")
    add_pool_flags(parser)
    parser.add_argument(
        "--client-limits",
        type=_client_limits,
        default=ClientLimits(),
        metavar="NAME=VALUE,...",
        help=f"what clients may ask for (default: {_shown(ClientLimits())})",
    )
    add_voice_settings(parser)
    add_translation_settings(parser)
    parser.add_argument(
        "--speech", action="store_true", help="let clients have translations and transcripts spoken; needs a voice"
    )
    add_speech_settings(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def _add_access(parser: argparse.ArgumentParser) -> None:
    """Add the flags of who may come in."""
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


def run(options: argparse.Namespace) -> int:
    configs = configs_from(options)
    limits, worker_config = options_from(Limits, options), options_from(WorkerConfig, options)
    # Here, because the other commands do without the live extra.
    from streaming.server.descriptors import make_room
    from streaming.server.registry import SessionRegistry

    sys.setswitchinterval(SWITCH_S)
    # Sessions have the targets that clients ask for.
    config = replace(configs.engine, targets=())
    bar = ProgressBar()
    pool = pool_from(options, config, worker_config, bar)
    access, tls = _access(options), _tls(options)
    make_room(limits, worker_config)
    translations, speech = _translations(configs), _speech(options, configs)
    with ExitStack() as sockets, server_log():
        registry = SessionRegistry(pool, config, configs.voice, limits, options.client_limits, translations, speech)
        server, listening = _server(options, registry, access, tls, sockets)
        pool.start()
        threading.Thread(target=_watch, args=(pool, server, bar), daemon=True).start()
        try:
            server.run([listening])
        finally:
            pool.stop()
            bar.close()
    if pool.health().message:
        raise BackendError(pool.health().message)
    return 0


def _server(
    options: argparse.Namespace, registry: "SessionRegistry", access: "Access", tls: "Tls | None", sockets: ExitStack
) -> "tuple[Server, socket.socket]":
    """Return it and where it listens, and say where all its places are. Raises ConfigError."""
    from streaming.server.run import Server, bound_socket, end_process_within

    admin = None
    if options.admin_port is not None:
        admin = sockets.enter_context(bound_socket(options.admin_host, options.admin_port))
    places = dialect_places(options, sockets, has_token=bool(access.tokens))
    server = Server(
        registry,
        access,
        tls,
        admin,
        end_process_within,
        dialects=dialects_from(options),
        dialect_ports=places.listening,
        connected=places.connected,
    )
    listening = sockets.enter_context(_bound(options.host, options.port))
    scheme = "https" if tls else "http"
    if admin:
        _say(f"health and metrics on {scheme}://{options.admin_host}:{admin.getsockname()[1]}")
    _say(f"listening on {scheme}://{options.host}:{listening.getsockname()[1]}; loading the model")
    return server, listening


def _bound(host: str, port: int) -> socket.socket:
    from streaming.server.run import bound_socket

    try:
        return bound_socket(host, port)
    except ConfigError as error:
        raise ConfigError(f"{error}; another port is chosen by --port PORT") from error


def _translations(configs: Configs) -> "Translations":
    """Return what clients may have translated; text only if settings of translation, or languages, ask for it.

    Raises ConfigError.
    """
    from streaming.server.translations import Translations

    is_of_text = bool(configs.stage_targets) or configs.translation != TranslationConfig()
    translator = loaded_translator(configs.translation) if is_of_text else None
    translations = Translations(configs.translation, translator, configs.engine.targets)
    translations.check_first(configs.engine)
    return translations


def _speech(options: argparse.Namespace, configs: Configs) -> "Speech":
    """Return what clients may have spoken; nothing unless --speech asks for it. Raises what `open_voices` does."""
    from streaming.server.speech import Speech

    config = speech_from(options, configs)
    return Speech(config, opened_voices(config) if options.speech else None)


def _client_limits(text: str) -> ClientLimits:
    """Read `beam_size=2,prompt_chars=200`; what is not named stays at its default."""
    try:
        values = {name.strip(): json.loads(value) for name, value in (pair.split("=") for pair in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected name=number,... such as beam_size=2") from error
    try:
        return from_mapping(ClientLimits, values, "--client-limits")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _shown(limits: ClientLimits) -> str:
    return ",".join(f"{name}={value:g}" for name, value in asdict(limits).items())


def _access(options: argparse.Namespace) -> "Access":
    """Return who may come in, and say what is careless about it. Raises ConfigError."""
    from streaming.server.access import Access, own_names

    tokens, path = _tokens(options), options.token_file
    is_short = any(len(token) < _SHORT_TOKEN_CHARS for token in tokens.values.values())
    if options.host not in _LOOPBACK and not tokens:
        _say("anybody who can reach this machine may connect; set --token to require a token")
    elif options.host not in _LOOPBACK and is_short:
        _say(f"the token is short enough to be guessed; use {_SHORT_TOKEN_CHARS} characters or more, at random")
    hosts = (*own_names(options.host), *own_names(options.admin_host), *options.allowed_host)
    return Access(tokens, tuple(options.origin), hosts, (lambda: _tokens(options)) if path else None)


def _tokens(options: argparse.Namespace) -> "Tokens":
    """Raises ConfigError."""
    from streaming.server.tokens import Tokens, both, can_be_read_by_others, one_token, read_tokens

    tokens = Tokens()
    if options.token is not None:
        tokens = one_token(options.token, "--token")
    elif _TOKEN in os.environ:
        tokens = one_token(os.environ[_TOKEN], f"${_TOKEN}")
    if options.token_file is None:
        return tokens
    tokens = both(tokens, read_tokens(options.token_file))
    if can_be_read_by_others(options.token_file):
        _say(f"{options.token_file} can be read by all users of this machine; chmod o-r makes it yours")
    return tokens


def _tls(options: argparse.Namespace) -> "Tls | None":
    from streaming.server.tls import Tls

    if options.tls_key and not options.tls_cert:
        raise ConfigError("--tls-key needs --tls-cert")
    return Tls(options.tls_cert, options.tls_key) if options.tls_cert else None


def _watch(pool: "RunningPool", server: "Server", bar: ProgressBar) -> None:
    """Say when it is ready; a model that cannot be used ends the server."""
    health = pool.wait_ready(threading.TIMEOUT_MAX)
    bar.close()
    if health.is_ready:
        _say("ready")
    elif health.message:
        server.stop_soon()


def _say(notice: str) -> None:
    print(f"simul-whisper: {notice}", file=sys.stderr, flush=True)
