"""A server from its socket to its end: SIGTERM and Ctrl-C let sessions finish, a second one does not."""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import uvicorn

from simul_whisper import ConfigError
from streaming.server.access import Access
from streaming.server.app import create_app
from streaming.server.registry import SessionRegistry
from streaming.server.uvicorn_websocket import UvicornWebSocket

_SHUTDOWN_S = 3
# After the drain time: for sessions to be ended, and connections closed.
_LAST_S = 10.0
_MAX_PORT = 65_535
# What cannot be refused by name any more is not read at all.
_UNREADABLE = 4


@dataclass(frozen=True)
class Tls:
    """Files in PEM; the key may stand in the certificate's."""

    certificate: str
    key: str | None = None


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any that is free. Raises ConfigError."""
    if not 0 <= port <= _MAX_PORT:
        raise ConfigError(f"cannot listen on port {port}, expected 0-{_MAX_PORT}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error}") from error


class Server(uvicorn.Server):
    """Drains before it exits. `run` it in the main thread to have signals handled, else call `stop_soon`.

    on_signal: called when the first signal comes, with the seconds within which the server should have ended.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        access: Access | None = None,
        tls: Tls | None = None,
        on_signal: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._registry, self._on_signal = registry, on_signal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        config = uvicorn.Config(
            create_app(registry, access),
            loop="asyncio",
            ws=UvicornWebSocket,
            ws_max_size=_UNREADABLE * registry.limits.max_message,
            # Pings would wait behind audio that is not read for want of room; silence has a limit of its own.
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            limit_concurrency=registry.limits.max_connections,
            timeout_graceful_shutdown=_SHUTDOWN_S,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
            log_config=None,
            access_log=False,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"TLS files cannot be used: {error}") from error
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._draining is None:
            self._on_signal(self._registry.limits.drain_s + _LAST_S)
        self.stop_soon()

    def stop_soon(self) -> None:
        """Drain, then exit; called again, exit at once. For any thread and signal handlers."""
        if self._loop is None:
            self.should_exit = True
            return
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        else:
            self.should_exit = self.force_exit = True

    async def _drain(self) -> None:
        try:
            await self._registry.drain(self._registry.limits.drain_s)
        finally:
            self.should_exit = True


def end_process_within(last_s: float) -> None:
    """See to it that this process ends within so many seconds, and at once when told again to stop, whatever runs.

    From here on the system does it, which waits for nothing.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, last_s)
