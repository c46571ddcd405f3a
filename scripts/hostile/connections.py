"""Attacks by connections that are not, or not yet, those of a client."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from anyio import move_on_after

from scripts.hostile.repetition import Deed, often
from scripts.hostile.target import Outcome, Target
from scripts.hostile.wire import BINARY, TEXT, Wire, frame, hello

FORGED = "forged-line"
"""What begins a line of the log only if a client can break lines in it."""
_FORGERY = f"\r\n{FORGED}\x1b[31m\x07"
Kind = Callable[[Wire, random.Random], Awaitable[object]]
"""What one connection does, by chance or not."""

_SECOND_S = 1.0
_NEVER_READ_BYTES, _UNREAD_S = 32_000, 5.0
_N_FRAMES = 20

_BAD_HELLOS = (
    {"type": "hello"},
    {"type": "hello", "version": 2**70},
    {"type": _FORGERY, "version": 1},
    hello(**{_FORGERY: 1}),
    hello(language=_FORGERY),
    hello(options={"init_prompt": [_FORGERY]}),
    hello(options={"beam_size": 10**9}),
    hello(options={"cif_ckpt_path": "/etc/passwd"}),
    hello(format={"encoding": "s16le", "rate": -1}),
    hello(resume={"session": _FORGERY, "sent_bytes": 10**17, "seen": 10**17}),
    hello(targets=["\ud800"]),
    {"type": "flush"},
)


async def silent(wire: Wire, _: random.Random) -> str:
    """Says nothing."""
    return await wire.status()


async def half_request(wire: Wire, _: random.Random) -> str:
    """Says half of a request line."""
    await wire.write(b"GET /hea")
    return await wire.status()


async def slow_headers(wire: Wire, _: random.Random) -> str:
    """Says another header each second."""
    await wire.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
    return await _meanwhile(wire, b"X-Header: x\r\n")


async def header_9_kb(wire: Wire, _: random.Random) -> str:
    """Has a handshake with a header of 9 kB."""
    await wire.write(wire.upgrade(f"X-Header: {'x' * 9_000}\r\n") + b"\r\n")
    return await wire.status()


async def header_100_kb(wire: Wire, _: random.Random) -> str:
    """Has a handshake with a header of 100 kB."""
    await wire.write(wire.upgrade(f"X-Header: {'x' * 100_000}\r\n") + b"\r\n")
    return await wire.status()


async def huge_length(wire: Wire, _: random.Random) -> str:
    """Announces a body of a terabyte, and sends some of it."""
    await wire.write(b"POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n")
    await wire.write(bytes(100_000))
    return await wire.status()


async def endless_chunks(wire: Wire, _: random.Random) -> str:
    """Sends a body in chunks that never end."""
    await wire.write(b"POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    return await _meanwhile(wire, b"2710\r\n" + bytes(10_000) + b"\r\n")


async def half_handshake(wire: Wire, _: random.Random) -> str:
    """Says a WebSocket handshake without its last line."""
    await wire.write(wire.upgrade())
    return await wire.status()


async def no_hello(wire: Wire, _: random.Random) -> None:
    """Is a WebSocket that says nothing."""
    await wire.shake_hands()
    await wire.hear()


async def bad_hello(wire: Wire, chance: random.Random) -> None:
    """Says a hello that is none, some with line breaks and control characters for the log."""
    await wire.shake_hands()
    await wire.say(chance.choice(_BAD_HELLOS))
    await wire.hear()


async def nonsense(wire: Wire, chance: random.Random) -> None:
    """Sends frames that WebSocket does not know."""
    await wire.shake_hands()
    for _ in range(_N_FRAMES):
        await wire.write(chance.randbytes(chance.randrange(1, 200)))
    await wire.hear()


async def bad_utf8(wire: Wire, _: random.Random) -> None:
    """Sends text that is not UTF-8."""
    await wire.shake_hands()
    await wire.write(frame(TEXT, b'{"type": "hello", "version": 1, "language": "\xff\xfe"}'))
    await wire.hear()


async def surrogate(wire: Wire, _: random.Random) -> None:
    """Has half a character in its prompt, and says something."""
    await wire.greet(hello(options={"init_prompt": "\ud800", "vad": False}))
    await wire.send(bytes(64_000))
    await wire.say({"type": "end"})
    await wire.hear()


async def huge_frame(wire: Wire, _: random.Random) -> None:
    """Announces a message of 2^62 bytes, and sends some of it."""
    await wire.greet(hello())
    await wire.write(bytes([0x80 | BINARY, 0xFF]) + (1 << 62).to_bytes(8, "big") + bytes(4) + bytes(100_000))
    await wire.hear()


async def unread(wire: Wire, _: random.Random) -> str:
    """Asks for much, and reads nothing of it."""
    await wire.shake_hands()
    await wire.say(hello(options={"vad": False, "segment_length": 0.2}))
    with move_on_after(_UNREAD_S):
        while True:
            await wire.send(bytes(_NEVER_READ_BYTES))
            await wire.say({"type": "flush"})
    return "left"


async def _meanwhile(wire: Wire, data: bytes) -> str:
    """Send it each second until an answer comes."""

    async def send() -> None:
        while True:
            await wire.write(data)
            await asyncio.sleep(_SECOND_S)

    sending = asyncio.create_task(send())
    try:
        return await wire.status()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


KINDS: tuple[Kind, ...] = (
    silent,
    half_request,
    slow_headers,
    header_9_kb,
    header_100_kb,
    huge_length,
    endless_chunks,
    half_handshake,
    no_hello,
    bad_hello,
    nonsense,
    bad_utf8,
    surrogate,
    huge_frame,
    unread,
)


async def of_one_kind(kind: Kind, target: Target, outcome: Outcome) -> None:
    """Connections that do one thing."""
    await often(target, outcome, lambda number: _deed(kind, number))


async def flood(target: Target, outcome: Outcome) -> None:
    """All kinds of connections in turn."""
    await often(target, outcome, lambda number: _deed(KINDS[number % len(KINDS)], number))


def _deed(kind: Kind, number: int) -> Deed:
    return lambda wire: kind(wire, random.Random(number))
