"""A connection to a server as a hostile client needs it: HTTP and WebSocket by hand, right or wrong.

It is cheap, so that what attacks does not compete with what is attacked: nothing is masked but with zeros.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn

from anyio import fail_after

from scripts.hostile.target import Target

TEXT, BINARY, CLOSE = 1, 2, 8
_LARGEST_ANSWER = 1 << 22
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
_CONNECT_S = 10.0

Message = dict[str, Any]


class Over(Exception):  # noqa: N818
    """The connection is over. answer: why, in a word to be counted."""

    def __init__(self, answer: str, message: str = "") -> None:
        super().__init__(f"{answer}: {message}")
        self.answer, self.message = answer, message


def frame(opcode: int, payload: bytes, first_bits: int = 0x80) -> bytes:
    """Return a WebSocket frame from a client. first_bits: 0x80 says that it is the last of its message."""
    n_bytes = len(payload)
    if n_bytes < 126:
        size = bytes([0x80 | n_bytes])
    elif n_bytes < 1 << 16:
        size = bytes([0x80 | 126]) + n_bytes.to_bytes(2, "big")
    else:
        size = bytes([0x80 | 127]) + n_bytes.to_bytes(8, "big")
    return bytes([first_bits | opcode]) + size + bytes(4) + payload


def hello(**changes: Any) -> Message:
    return {"type": "hello", "version": 1, **changes}


CONTAINER = hello(format={"encoding": "container"})


class Wire:
    """An open connection."""

    _n_opened = 0

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target, self._reader, self._writer = target, reader, writer

    @classmethod
    async def open(cls, target: Target) -> "Wire":
        """Raises Over."""
        source = target.source(cls._n_opened)
        cls._n_opened += 1
        connecting = asyncio.open_connection(
            target.host, target.port, ssl=target.tls, local_addr=source, limit=_LARGEST_ANSWER
        )
        try:
            with fail_after(_CONNECT_S):
                return cls(target, *await connecting)
        except TimeoutError as error:
            raise Over("no connection") from error
        except OSError as error:
            raise Over("not connected", str(error)) from error

    def abort(self) -> None:
        """Be gone without a word."""
        self._writer.transport.abort()

    async def write(self, data: bytes) -> None:
        """Raises Over."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Over("closed") from error

    async def status(self) -> str:
        """Return the status of an HTTP answer, such as 408. Raises Over."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Over("closed") from error
        return head.split(b" ", 2)[1].decode(errors="replace")

    def upgrade(self, extra: str = "") -> bytes:
        """Return the head of a WebSocket handshake, complete but for its last empty line. extra: lines of it."""
        bearer = f"Authorization: Bearer {self._target.token}\r\n" if self._target.token else ""
        return (
            f"GET {self._target.path} HTTP/1.1\r\nHost: {self._target.host}:{self._target.port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n"
            f"{bearer}{extra}"
        ).encode()

    async def shake_hands(self) -> None:
        """Become a WebSocket. Raises Over."""
        await self.write(self.upgrade() + b"\r\n")
        if (status := await self.status()) != "101":
            raise Over(status)

    async def say(self, message: Message) -> None:
        await self.write(frame(TEXT, json.dumps(message).encode()))

    async def send(self, audio: bytes) -> None:
        await self.write(frame(BINARY, audio))

    async def greet(self, message: Message) -> Message:
        """Open a session; return `ready`. Raises Over."""
        await self.shake_hands()
        await self.say(message)
        return await self.receive()

    async def receive(self) -> Message:
        """Return the next message. Raises Over, also after the last one of a session."""
        opcode, payload = await self._frame()
        if opcode == CLOSE:
            raise Over(f"closed {int.from_bytes(payload[:2], 'big')}")
        message: Message = json.loads(payload) if opcode == TEXT else {"type": ""}
        if message["type"] == "error":
            raise Over(message["code"], message["message"])
        if message["type"] == "ended":
            raise Over("ended")
        return message

    async def _frame(self) -> tuple[int, bytes]:
        try:
            first, size = await self._reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            return first & 15, await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Over("closed") from error

    async def hear(self, heard: Callable[[Message], None] = lambda _: None) -> NoReturn:
        """Hear all that comes. Raises Over at its end."""
        while True:
            heard(await self.receive())

    async def converse(
        self, speaking: Coroutine[Any, Any, None], heard: Callable[[Message], None] = lambda _: None
    ) -> NoReturn:
        """Speak, and hear all that comes meanwhile and afterwards. Raises Over at its end."""
        task = asyncio.create_task(speaking)
        try:
            await self.hear(heard)
        finally:
            task.cancel()
            # Why nobody could be spoken to is heard.
            with suppress(asyncio.CancelledError, Over):
                await task
