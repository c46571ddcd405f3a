"""Dialects where clients look for them: at paths beside the native protocol, and at ports of their own."""

import asyncio
import secrets
import time
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version

from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from streaming.protocols.catalogue import DEFAULT_NAMES, ENTRIES, Entry
from streaming.protocols.dialect import Dialect, Handshake, Served, ServedModel
from streaming.server.conversation import Conversation
from streaming.server.doorway import Doorway
from streaming.server.reception import Reception, over_rate, seat
from streaming.server.registry import SessionRegistry
from streaming.server.uvicorn_websocket import caller_of, let_speak
from streaming.server.wire import StreamWire, WebSocketWire
from streaming.sessions.pool import Health
from streaming.sessions.request import Refusal, most_terms
from streaming.tracing import Trace, enter

# What the clients of services ask for when nobody tells them the name of a model.
ALIASES = (
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-transcribe",
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
    "gpt-realtime-translate",
)
# Where those come from that have no address: they have come by a Unix socket, or by stdin.
_HERE = "this machine"


@dataclass(frozen=True)
class Dialects:
    """Those that a server speaks. names: of the catalogue. aliases: names that the model answers to besides its own."""

    names: tuple[str, ...] = DEFAULT_NAMES
    aliases: tuple[str, ...] = ALIASES

    def served(self, registry: SessionRegistry) -> Served:
        """Return what there is to be had now."""
        health = registry.pool.health()
        of_any, models = _model_of(health.together, registry), tuple(_model_of(each, registry) for each in health.all)
        limits, n_terms = registry.limits, most_terms(registry.config, registry.client_limits)
        return Served(
            health.model if health.is_ready else "",
            self.aliases,
            of_any.languages,
            of_any.tasks,
            of_any.targets,
            _release(),
            limits.max_message,
            limits.total_s,
            registry.speech.languages,
            n_terms,
            models if health.others else (),
            registry.by_language,
            registry.config,
        )


def _model_of(health: Health, registry: SessionRegistry) -> ServedModel:
    targets = registry.translations.targets(health, replace(registry.config, language="auto"))
    return ServedModel(health.model, health.languages, health.tasks, targets, health.state.value)


@cache
def _release() -> str:
    """Finding it reads files, for which no connection is to wait."""
    return version("simul-whisper")


class WebSocketDoor:
    """Where dialects are spoken over WebSockets."""

    def __init__(self, registry: SessionRegistry, reception: Reception, dialects: Dialects | None = None) -> None:
        self._registry, self._reception, self._dialects = registry, reception, dialects or Dialects()

    def routes(self) -> list[BaseRoute]:
        """Return those of the dialects that stand beside the native protocol."""
        entries = [each for each in ENTRIES if each.name in self._dialects.names and not each.is_stream]
        return [self._route(path, entry) for entry in entries for path in entry.paths]

    def route_of_all(self, entry: Entry) -> BaseRoute:
        """Return that of a port of which the dialect has all paths."""
        return self._route("/{path:path}", entry)

    def _route(self, path: str, entry: Entry) -> BaseRoute:
        async def speak(socket: WebSocket) -> None:
            await self._speak(socket, entry)

        return WebSocketRoute(path, speak)

    async def _speak(self, socket: WebSocket, entry: Entry) -> None:
        enter(Trace(entry.name))
        dialect = entry.speak(_handshake(socket), self._dialects.served(self._registry))
        self._registry.n_connections += 1
        try:
            refusal = self._refusal(socket, dialect)
            denial = dialect.deny(refusal) if refusal else None
            if refusal and denial:
                self._registry.errors[refusal.reason.value] += 1
                await socket.send_denial_response(Response(denial.body, denial.status, dict(denial.headers)))
            else:
                await self._converse(socket, dialect, entry.name, refusal)
        except WebSocketDisconnect:
            pass
        finally:
            self._registry.n_connections -= 1

    def _refusal(self, socket: WebSocket, dialect: Dialect) -> Refusal | None:
        """Return why a client is not let in, if it is not."""
        try:
            self._reception.welcome(socket, dialect.token())
            dialect.check()
            if dialect.asks_at_once:
                self._registry.check_place(caller_of(socket).network)
            seat(caller_of(socket))
        except Refusal as refusal:
            return refusal
        return None

    async def _converse(self, socket: WebSocket, dialect: Dialect, name: str, refusal: Refusal | None) -> None:
        await socket.accept(dialect.subprotocol)
        limits = self._registry.limits
        wire = WebSocketWire(socket, limits.slow_reader_s)
        conversation = Conversation(wire, dialect, self._registry, limits.idle_s)
        if refusal:
            await conversation.refuse(refusal)
        else:
            let_speak(socket)
            self._registry.connections_by_dialect[name] += 1
            await conversation.run()


def _handshake(socket: WebSocket) -> Handshake:
    query = {name: tuple(socket.query_params.getlist(name)) for name in socket.query_params}
    return Handshake(
        connection=secrets.token_hex(12),
        at_s=time.time(),
        path=socket.url.path,
        query=query,
        headers=dict(socket.headers),
        subprotocols=tuple(socket.scope.get("subprotocols", ())),
    )


class StreamDoor:
    """Where a dialect is spoken over streams of bytes. It asks for no token: there is no place for one."""

    def __init__(self, registry: SessionRegistry, doorway: Doorway, entry: Entry, dialects: Dialects) -> None:
        self._registry, self._doorway, self._entry, self._dialects = registry, doorway, entry, dialects
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_shut = False

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client is there; it is spoken with in a task of its own."""
        if self._is_shut:
            writer.transport.abort()
            return
        task = asyncio.create_task(self.speak(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def shutdown(self) -> None:
        """Leave those that are still there, and those that come all the same."""
        self._is_shut = True
        for task in self._tasks:
            task.cancel()

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak with a client to the end."""
        enter(Trace(self._entry.name))
        peer = writer.get_extra_info("peername")
        caller = self._doorway.enter(peer[0] if peer else _HERE, writer.transport.abort)
        limits = self._registry.limits
        self._registry.n_connections += 1
        try:
            handshake = Handshake(secrets.token_hex(12), time.time())
            dialect = self._entry.speak(handshake, self._dialects.served(self._registry))
            wire = StreamWire(reader, writer, caller, limits.slow_reader_s)
            # A program of this machine that is connected for good may have nothing to say for a while.
            conversation = Conversation(wire, dialect, self._registry, limits.hello_s, is_patient=not peer)
            if caller.is_over_rate:
                await conversation.refuse(over_rate(caller, limits))
            else:
                self._registry.connections_by_dialect[self._entry.name] += 1
                await conversation.run()
            await wire.linger()
        finally:
            self._registry.n_connections -= 1
            caller.leave()
            # What is queued yet is for somebody who does not read; it would keep the connection for ever.
            writer.transport.abort()
