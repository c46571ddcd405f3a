"""A WebSocket server that plays a script: what happens to a client's first connections, and what the next ones are.

The address tells the script: `/MOMENT/CODE`. Every connection notes how it was greeted; one after the script's last is
told that the stream has ended.
"""

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from simul_whisper import Word
from streaming.events import Ended, Failed, Reason, Words
from streaming.protocols.native import (
    Ack,
    ClientMessage,
    Numbered,
    Ready,
    Refused,
    Resume,
    ServerMessage,
    parse_client,
    server_text,
)
from streaming.sessions.request import SessionRequest

# When an error comes: to the first greeting, in an open session, as its last event, or to whoever comes back.
MOMENTS = ("greeting", "session", "event", "return")


class ScriptedServer:
    """said: what each address was told by its clients, but for audio, whose bytes are counted in `heard`."""

    def __init__(self, port: int) -> None:
        self.url = f"ws://127.0.0.1:{port}"
        self.said = defaultdict[str, list[ClientMessage]](list)
        self.heard = defaultdict[str, list[bytes]](list)

    def greetings(self, path: str) -> list[ClientMessage]:
        return [each for each in self.said[path] if isinstance(each, SessionRequest | Resume)]

    async def hear(self, socket: ServerConnection) -> None:
        assert socket.request
        path = socket.request.path
        greeting = await self._next(socket, path)
        _, moment, code = path.split("/")
        n = len(self.greetings(path))
        seen = greeting.seen if isinstance(greeting, Resume) else 0
        if n == 1:
            await self._play(socket, path, moment, code)
        elif n == 2 and moment == "return":
            await _say(socket, Refused(Reason(code), ""))
        else:
            await _say(socket, Ready("two", 0, False, 30), Numbered(seen + 1, Ended(0)))

    async def _play(self, socket: ServerConnection, path: str, moment: str, code: str) -> None:
        if code == "wait":
            await _say(socket, Refused(Reason.TOO_MANY_SESSIONS, "", 0.01))
            return
        if moment == "greeting":
            await _say(socket, Refused(Reason(code), ""))
            return
        await _say(socket, Ready("one", 0, False, 30))
        match moment, code:
            case "session", _:
                await _say(socket, _word(1), Refused(Reason(code), ""))
            case "event", _:
                await _say(socket, _word(1), Numbered(2, Failed(Reason(code), "")))
            case "return", _:
                await _say(socket, _word(1))
                socket.transport.abort()
            case _, "unreachable":
                socket.transport.abort()
            case _, "gap":
                await _say(socket, _word(1), _word(1), _word(3))
                await self._listen(socket, path)
            case _, "garbage":
                await socket.send("{")
                await self._listen(socket, path)
            case _, "events":
                for first in (1, 4):
                    await _say(socket, *(_word(seq) for seq in range(first, first + 3)))
                    while not isinstance(await self._next(socket, path), Ack):
                        pass
                await _say(socket, Numbered(7, Ended(0)))
            case _, "full":
                await _say(socket, _word(1))
                await self._listen(socket, path)
            case _:
                await self._listen(socket, path)

    async def _next(self, socket: ServerConnection, path: str) -> ClientMessage | None:
        message = await socket.recv()
        if isinstance(message, bytes):
            self.heard[path].append(message)
            return None
        said = parse_client(message)
        self.said[path].append(said)
        return said

    async def _listen(self, socket: ServerConnection, path: str) -> None:
        """Hear all, and answer nothing."""
        while True:
            await self._next(socket, path)


def _word(seq: int) -> Numbered:
    return Numbered(seq, Words((Word(" word", seq, seq + 0.5, 1.0),), seq + 1))


async def _say(socket: ServerConnection, *messages: ServerMessage) -> None:
    for message in messages:
        await socket.send(server_text(message))


@contextmanager
def scripted() -> Iterator[ScriptedServer]:
    """Run it in a thread of its own."""
    is_there, box = threading.Event(), list[Any]()

    async def run() -> None:
        async def hear(socket: ServerConnection) -> None:
            with suppress(ConnectionClosed):
                await box[0].hear(socket)

        async with serve(hear, "127.0.0.1", 0, compression=None) as listening:
            stop = asyncio.Event()
            box.extend(
                [ScriptedServer(next(iter(listening.sockets)).getsockname()[1]), asyncio.get_running_loop(), stop]
            )
            is_there.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="scripted server")
    thread.start()
    is_there.wait()
    try:
        yield box[0]
    finally:
        box[1].call_soon_threadsafe(box[2].set)
        thread.join()


def as_json(table: Any) -> Any:
    """The table of recovery, as the page reads it."""
    return json.loads(json.dumps(table, default=lambda each: each.value))
