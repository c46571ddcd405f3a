"""uvicorn's settings for one port: our connections in place of its own, and no more said or believed than must be."""

import asyncio
import ssl
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from streaming.server.doorway import Doorway
from streaming.server.limits import Limits
from streaming.server.proxy import LOOPBACK
from streaming.server.security_headers import SECURITY_HEADERS
from streaming.server.tls import TlsConnection
from streaming.server.uvicorn_http import UvicornHttp
from streaming.server.uvicorn_websocket import UvicornWebSocket

_SHUTDOWN_S = 3
# What cannot be refused by name any more is not read at all.
_UNREADABLE = 4
# asyncio accepts so many before those that are there are counted.
MOST_ACCEPTED = 32


def listener_config(
    app: ASGIApp,
    limits: Limits,
    doorway: Doorway,
    context: ssl.SSLContext | None,
    *,
    trusted: Sequence[str] = LOOPBACK,
    has_websocket: bool = True,
    uploads: frozenset[str] = frozenset(),
) -> uvicorn.Config:
    """Return settings that are loaded. context: None where nothing is encrypted. uploads: paths that take bodies.

    trusted: who is believed when it says where a connection comes from.
    """
    connection = partial(_connection, limits, doorway, context, frozenset(path.encode() for path in uploads))
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=cast("type[asyncio.Protocol]", connection),
        ws=UvicornWebSocket if has_websocket else "none",
        ws_max_size=_UNREADABLE * limits.max_message,
        # Pings would wait behind audio that is not read for want of room; silence has a limit of its own.
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        backlog=MOST_ACCEPTED,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        headers=list(SECURITY_HEADERS),
        forwarded_allow_ips=list(trusted),
        server_header=False,
        log_config=None,
        # Below that stand addresses of requests, and headers, with the tokens in them.
        log_level="warning",
        access_log=False,
    )
    config.load()
    return config


def _connection(
    limits: Limits,
    doorway: Doorway,
    context: ssl.SSLContext | None,
    uploads: frozenset[bytes],
    config: uvicorn.Config,
    server_state: ServerState,
    app_state: dict[str, Any],
    _loop: asyncio.AbstractEventLoop | None = None,
) -> asyncio.BaseProtocol:
    """Return what takes a connection; all that comes behind uploads is uvicorn's."""
    http = UvicornHttp(config, server_state, app_state, _loop, doorway=doorway, limits=limits, uploads=uploads)
    return TlsConnection(http, context, doorway, limits.head_s) if context else http
