"""`simul-whisper serve`: captions for many, over WebSockets, with a page."""

import argparse
import json
import os
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

from simul_whisper import BackendError, ConfigError, from_mapping, load_model
from streaming.cli.options import ProgressBar, add_options, add_settings, add_voice_settings, configs_from, options_from
from streaming.server.limits import Limits
from streaming.settings import ClientLimits, WorkerConfig

if TYPE_CHECKING:
    from streaming.server.run import Server, Tls
    from streaming.sessions.worker import Worker

_TOKEN = "SIMUL_WHISPER_TOKEN"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0 takes any that is free (default: 8000)"
    )
    parser.add_argument(
        "--token",
        help=f"the token that clients must send; safer in ${_TOKEN}, which other users of this machine cannot see",
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
    add_options(parser, Limits, "limits")
    add_options(parser, WorkerConfig, "the thread that serves all sessions")
    parser.add_argument(
        "--client-limits",
        type=_client_limits,
        default=ClientLimits(),
        metavar="NAME=VALUE,...",
        help=f"what clients may ask for (default: {_shown(ClientLimits())})",
    )
    add_voice_settings(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config, voice = configs_from(options)
    limits, worker_config = options_from(Limits, options), options_from(WorkerConfig, options)
    # Here, because the other commands do without the live extra.
    from streaming.server.access import Access
    from streaming.server.registry import SessionRegistry
    from streaming.server.run import Server, bound_socket, end_process_within
    from streaming.sessions.worker import Worker

    is_local, token = options.host in _LOOPBACK, options.token or os.environ.get(_TOKEN, "")
    bar = ProgressBar()
    worker = Worker(lambda: load_model(config, bar), config, worker_config)
    access = Access(token, tuple(options.origin), is_local)
    registry = SessionRegistry(worker, config, voice, limits, options.client_limits)
    server = Server(registry, access, _tls(options), end_process_within)
    listening = bound_socket(options.host, options.port)
    if not is_local and not token:
        _say("anybody who can reach this machine may connect; set --token to require a token")
    scheme = "https" if options.tls_cert else "http"
    _say(f"listening on {scheme}://{options.host}:{listening.getsockname()[1]}; loading the model")
    worker.start()
    threading.Thread(target=_watch, args=(worker, server, bar), daemon=True).start()
    try:
        server.run([listening])
    finally:
        worker.stop()
        bar.close()
    if worker.health().message:
        raise BackendError(worker.health().message)
    return 0


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


def _tls(options: argparse.Namespace) -> "Tls | None":
    from streaming.server.run import Tls

    if options.tls_key and not options.tls_cert:
        raise ConfigError("--tls-key needs --tls-cert")
    return Tls(options.tls_cert, options.tls_key) if options.tls_cert else None


def _watch(worker: "Worker", server: "Server", bar: ProgressBar) -> None:
    """Say when it is ready; a model that cannot be used ends the server."""
    health = worker.wait_ready(threading.TIMEOUT_MAX)
    bar.close()
    if health.is_ready:
        _say("ready")
    elif health.message:
        server.stop_soon()


def _say(notice: str) -> None:
    print(f"simul-whisper: {notice}", file=sys.stderr, flush=True)
