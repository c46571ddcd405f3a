"""`simul-whisper serve`: captions for many, over WebSockets, with a page."""

import argparse
import socket
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from simul_whisper import BackendError, ConfigError, TranslationConfig
from streaming.cli.access import access_from, add_access_flags, tls_from
from streaming.cli.client_limits import add_client_limits, client_limits_from
from streaming.cli.dialects import add_dialect_flags, dialect_places, dialects_from
from streaming.cli.logs import add_log_flags, say, server_log
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
from streaming.cli.parser import Parser
from streaming.cli.pools import add_pool_flags, pool_from
from streaming.cli.proxy import add_proxy_flags, proxy_from
from streaming.cli.served_models import add_model_flags, by_language_from, first_source
from streaming.cli.settings_file import SERVER
from streaming.cli.speech import add_speech_settings, opened_voices, speech_from
from streaming.cli.traces import traced
from streaming.cli.translation import loaded_translator
from streaming.server.limits import Limits
from streaming.sessions.pool import SWITCH_S
from streaming.settings import WorkerConfig

if TYPE_CHECKING:
    from streaming.server.access import Access
    from streaming.server.registry import SessionRegistry
    from streaming.server.run import Server
    from streaming.server.speech import Speech
    from streaming.server.tls import Tls
    from streaming.server.translations import Translations
    from streaming.sessions.pool import RunningPool


def add_arguments(parser: Parser) -> None:
    parser.table = SERVER
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0 takes any that is free (default: 8000)"
    )
    add_access_flags(parser)
    add_proxy_flags(parser)
    parser.add_argument(
        "--admin-port", type=int, help="a port of its own for /health and /metrics; /metrics is then there only"
    )
    parser.add_argument("--admin-host", default="127.0.0.1", help="address of that port (default: 127.0.0.1)")
    add_log_flags(parser)
    add_dialect_flags(parser)
    add_options(parser, Limits, "limits")
    add_options(parser, WorkerConfig, "the thread that serves all sessions")
    add_pool_flags(parser)
    add_client_limits(parser)
    add_voice_settings(parser)
    add_translation_settings(parser)
    parser.add_argument(
        "--speech", action="store_true", help="let clients have translations and transcripts spoken; needs a voice"
    )
    add_speech_settings(parser)
    add_model_flags(parser)
    add_settings(parser, without=("targets", "model_name"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with server_log(options.log_format, options.log_level), traced():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    if source := first_source(options):
        options.model_name = source
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
    access, tls = access_from(options), tls_from(options)
    make_room(limits, worker_config)
    translations, speech = _translations(configs), _speech(options, configs)
    with ExitStack() as sockets:
        had = (client_limits_from(options), translations, speech, by_language_from(options))
        registry = SessionRegistry(pool, config, configs.voice, limits, *had)
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
        proxy=proxy_from(options),
        dialects=dialects_from(options),
        dialect_ports=places.listening,
        connected=places.connected,
    )
    listening = sockets.enter_context(_bound(options.host, options.port))
    scheme = "https" if tls else "http"
    if admin:
        say(f"health and metrics on {scheme}://{options.admin_host}:{admin.getsockname()[1]}")
    say(f"listening on {scheme}://{options.host}:{listening.getsockname()[1]}{options.root_path}; loading the model")
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


def _watch(pool: "RunningPool", server: "Server", bar: ProgressBar) -> None:
    """Say when it is ready; a model that cannot be used ends the server."""
    health = pool.wait_ready(threading.TIMEOUT_MAX)
    bar.close()
    if health.is_ready:
        say("ready")
    elif health.message:
        server.stop_soon()
