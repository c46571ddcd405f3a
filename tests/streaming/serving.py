"""A real server on loopback, in a thread, over a model that never mishears; and a plain client that says anything."""

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from simul_whisper import AlignAttConfig, Model
from streaming.events import Words
from streaming.protocols.catalogue import ENTRIES, NAMES
from streaming.protocols.native import PATH, Numbered, Ready, Received, Refused, ServerMessage, parse_server
from streaming.server.access import Access
from streaming.server.dialects import Dialects
from streaming.server.limits import Limits
from streaming.server.proxy import Proxy
from streaming.server.registry import SessionRegistry
from streaming.server.run import Server, bound_socket
from streaming.server.speech import Speech
from streaming.server.tls import Tls
from streaming.server.translations import Translations
from streaming.sessions.pool import RunningPool
from streaming.sessions.worker import Worker
from streaming.settings import VoiceConfig, WorkerConfig
from tests.tones import tone_model

PATIENCE_S = 60.0
CONFIG = AlignAttConfig(language="en", padding_len=1.0, segment_length=1.0)
OFF = VoiceConfig(vad=False)
MANY = Limits(connections_per_minute=100_000, drain_s=0)


def counted(families: Iterable[Metric]) -> dict[str, float]:
    """The values of what a pool counts, by name, of all its models together."""
    found = dict[str, float]()
    for sample in (sample for family in families for sample in family.samples if "le" not in sample.labels):
        name = sample.name.removeprefix("simul_whisper_")
        found[name] = found.get(name, 0.0) + sample.value
    return found


class Served:
    """A server that runs. dialect_ports: the numbers of the ports of their own, by the dialect's name."""

    def __init__(
        self,
        registry: SessionRegistry,
        server: Server,
        listening: socket.socket,
        dialect_ports: Mapping[str, socket.socket] | None = None,
    ) -> None:
        self.registry = registry
        self.dialect_ports = {name: each.getsockname()[1] for name, each in (dialect_ports or {}).items()}
        self._server = server
        self.port: int = listening.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}{PATH}"

    def stop(self) -> None:
        self._server.stop_soon()

    def count(self, name: str) -> float:
        """What the pool has counted."""
        return counted(self.registry.pool.metrics())[name]

    def wait_for(self, is_so: Any) -> None:
        """Look again until it is so."""
        until = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < until, "it never came to be so"
            time.sleep(0.01)


@contextmanager
def serving(
    limits: Limits = MANY,
    *,
    model: Model | None = None,
    config: AlignAttConfig = CONFIG,
    voice: VoiceConfig = OFF,
    access: Access | None = None,
    tls: Tls | None = None,
    admin: socket.socket | None = None,
    listening: socket.socket | None = None,
    translations: Translations | None = None,
    speech: Speech | None = None,
    proxy: Proxy | None = None,
    dialects: Dialects | None = None,
    dialect_ports: Mapping[str, socket.socket] | None = None,
    pool: RunningPool | None = None,
    by_language: Mapping[str, str] | None = None,
    is_ready: bool = True,
    admit: bool = False,
    **worker_options: Any,
) -> Iterator[Served]:
    """pool: in place of a worker with the model."""
    worker_options["admit"] = admit
    chosen = model or tone_model()
    pool = pool or Worker(lambda: chosen, config, WorkerConfig(**worker_options))
    if is_ready:
        pool.start()
        assert pool.wait_ready(PATIENCE_S).is_ready
    registry = SessionRegistry(pool, config, voice, limits, None, translations, speech, by_language)
    listening = listening or bound_socket("127.0.0.1", 0)
    spoken = dialects or Dialects(NAMES)
    ports = _ports_of_their_own(spoken, dialect_ports or {})
    server = Server(registry, access, tls, admin, proxy=proxy, dialects=spoken, dialect_ports=ports)
    served = Served(registry, server, listening, ports)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), name="server")
    thread.start()
    try:
        served.wait_for(lambda: server.started)
        yield served
    finally:
        if not registry.is_stopping:
            server.stop_soon()
        thread.join(PATIENCE_S)
        pool.stop()
        assert not thread.is_alive()


def _ports_of_their_own(dialects: Dialects, given: Mapping[str, socket.socket]) -> dict[str, socket.socket]:
    """Those that are given, and free ones where none is."""
    has_port = {entry.name for entry in ENTRIES if entry.port}
    return {name: given.get(name) or bound_socket("127.0.0.1", 0) for name in dialects.names if name in has_port}


class Talker:
    """Says anything, and reads what comes."""

    def __init__(self, served: Served, **options: Any) -> None:
        self._connecting = connect(served.url, compression=None, max_size=None, proxy=None, **options)
        self.socket: ClientConnection

    def __enter__(self) -> "Talker":
        self.socket = self._connecting.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._connecting.__exit__(None, None, None)

    def say(self, *messages: str | bytes) -> None:
        """Say all of it, unless the server has enough of it before."""
        with suppress(ConnectionClosed):
            for message in messages:
                self.socket.send(message)

    def next(self) -> ServerMessage | None:
        return parse_server(self.socket.recv(PATIENCE_S))

    def ready(self) -> Ready:
        message = self.next()
        assert isinstance(message, Ready), message
        return message

    def rest(self) -> list[Numbered | Refused]:
        """All that comes until the server closes, but for receipts."""
        messages = list[ServerMessage | None]()
        with suppress(ConnectionClosed):
            messages += (parse_server(message) for message in self.socket)
        assert all(isinstance(each, Numbered | Refused | Received | Ready) for each in messages), messages
        return [each for each in messages if isinstance(each, Numbered | Refused)]

    @property
    def close_code(self) -> int | None:
        return self.socket.close_code

    def cut(self) -> None:
        """Lose the connection without a word."""
        self.socket.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close_socket()


def s16(samples: NDArray[np.float32]) -> bytes:
    return (np.clip(samples, -1, 0.9999) * 32768).astype("<i2").tobytes()


def text_of(messages: list[Any]) -> str:
    events = [each.event if isinstance(each, Numbered) else each for each in messages]
    return "".join(event.text for event in events if isinstance(event, Words))


def with_limits(**changes: Any) -> Limits:
    return replace(MANY, **changes)


def exchanged(
    connection: http.client.HTTPConnection, method: str, path: str, **options: object
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers by their names in small letters, and body; the connection is closed."""
    try:
        connection.request(method, path, **options)  # type: ignore[arg-type]
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()
