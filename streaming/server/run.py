"""A server from its socket to its end: SIGTERM and Ctrl-C let sessions finish, a second one does not."""

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import uvicorn

from simul_whisper import ConfigError
from streaming.protocols.catalogue import entry_with_port
from streaming.server.access import Access
from streaming.server.app import create_apps
from streaming.server.dialects import Dialects, StreamDoor
from streaming.server.doorway import Doorway
from streaming.server.listener import MOST_ACCEPTED, listener_config
from streaming.server.openai_rest import upload_paths
from streaming.server.proxy import Proxy
from streaming.server.registry import SessionRegistry
from streaming.server.tls import Tls

logger = logging.getLogger(__name__)

# After the drain time: for sessions to be ended, and connections closed.
_LAST_S = 10.0
_MAX_PORT = 65_535
# How often it is looked whether the model is ready.
_LOOK_S = 0.05
# Connections that the system keeps until they are accepted.
_MOST_QUEUED = 2_048


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any that is free. Raises ConfigError."""
    if not 0 <= port <= _MAX_PORT:
        raise ConfigError(f"cannot listen on port {port}, expected 0-{_MAX_PORT}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        # Python adds the address once more.
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigError(f"cannot listen on {host}:{port}: {why}") from error


def bound_unix_socket(path: str) -> socket.socket:
    """Return a listening socket that has this path; one that is left of a dead server gives way. Raises ConfigError."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        if _is_left_over(path):
            Path(path).unlink()
        listening.bind(path)
        listening.listen()
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot listen on unix://{path}: {error.strerror or error}") from error
    return listening


def _is_left_over(path: str) -> bool:
    """Whether there is a socket at which nobody listens."""
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            return Path(path).is_socket()
        except FileNotFoundError:
            pass
    return False


class Server(uvicorn.Server):
    """Drains before it exits. `run` it in the main thread to have signals handled, else call `stop_soon`.

    admin: a listening socket of its own for health and metrics, which crowds at the other one cannot reach.
    proxy: what may stand before it. dialects: those that are spoken; dialect_ports: listening sockets of those that
    have ports of their own, by name. connected: sockets that are connections already, by the name of what is spoken
    there; when one ends, so does the server.
    on_signal: called when the first signal comes, with the seconds within which the server should have ended.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        access: Access | None = None,
        tls: Tls | None = None,
        admin: socket.socket | None = None,
        on_signal: Callable[[float], None] = lambda _: None,
        *,
        proxy: Proxy | None = None,
        dialects: Dialects | None = None,
        dialect_ports: Mapping[str, socket.socket] | None = None,
        connected: Mapping[str, socket.socket] | None = None,
    ) -> None:
        self._registry, self._access, self._on_signal = registry, access or Access(), on_signal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        context, limits = tls.context() if tls else None, registry.limits
        doorway, spoken, proxy = Doorway(limits), dialects or Dialects(), proxy or Proxy()
        trusted = proxy.trusted
        apps = create_apps(registry, self._access, doorway, spoken, proxy, has_admin_port=admin is not None)
        self._others: list[tuple[socket.socket, uvicorn.Config | StreamDoor]] = []
        if admin:
            config = listener_config(apps.admin, limits, Doorway(limits), context, trusted=trusted, has_websocket=False)
            self._others.append((admin, config))
        for name, listening in (dialect_ports or {}).items():
            app, entry = apps.by_dialect.get(name), entry_with_port(name)
            door = StreamDoor(registry, doorway, entry, spoken)
            self._others.append(
                (listening, listener_config(app, limits, doorway, context, trusted=trusted) if app else door)
            )
        self._connected = [
            (each, StreamDoor(registry, doorway, entry_with_port(name), spoken))
            for name, each in (connected or {}).items()
        ]
        self._speaking: set[asyncio.Task[None]] = set()
        uploads = proxy.with_prefix(upload_paths(spoken))
        super().__init__(listener_config(apps.public, limits, doorway, context, trusted=trusted, uploads=uploads))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if self._access.read_tokens and threading.current_thread() is threading.main_thread():
            self._loop.add_signal_handler(signal.SIGHUP, self._read_tokens)
        # uvicorn sets them a moment after the first connections are there.
        self.server_state.default_headers = self.config.encoded_headers
        await super().startup(sockets)
        for listening, what in self._others:
            self.servers.append(await self._listening(listening, what))
        for each in [*(sockets or []), *(listening for listening, _ in self._others)]:
            # asyncio accepts as many at once as may be queued, which is not what either is for.
            each.listen(_MOST_QUEUED)
        self._speaking = {asyncio.create_task(self._speak(each, door)) for each, door in self._connected}

    async def _speak(self, connected: socket.socket, door: StreamDoor) -> None:
        """Speak over a connection that is there already, once there is something to say."""
        while not self._registry.pool.health().is_ready:
            await asyncio.sleep(_LOOK_S)
        await door.speak(*await asyncio.open_connection(sock=connected))
        if self._draining is None:
            self._stop()

    async def _listening(self, listening: socket.socket, what: uvicorn.Config | StreamDoor) -> asyncio.Server:
        if isinstance(what, StreamDoor):
            return await asyncio.start_server(what.accept, sock=listening, backlog=MOST_ACCEPTED)
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            made: asyncio.Protocol = what.http_protocol_class(  # type: ignore[call-arg]
                config=what, server_state=self.server_state, app_state={}, _loop=loop
            )
            return made

        return await loop.create_server(connection, sock=listening, backlog=MOST_ACCEPTED)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for _, what in self._others:
            if isinstance(what, StreamDoor):
                what.shutdown()
        for task in self._speaking:
            task.cancel()
        await super().shutdown(sockets)

    def _read_tokens(self) -> None:
        """A file that has become wrong leaves the tokens as they were. Sessions that are open go on in any case."""
        assert self._access.read_tokens is not None
        try:
            self._access.tokens = self._access.read_tokens()
        except ConfigError as error:
            logger.warning("%s; the tokens stay as they were", error)
        else:
            logger.warning("tokens read again: %s", ", ".join(self._access.tokens.values))

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
