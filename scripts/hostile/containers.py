"""Attacks by bytes that are said to be a container: what does the server open, and what does it pay?"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

from scripts.hostile.forged import GARBAGE_HEADS, flac_bomb, wav, wav_of_64_bits
from scripts.hostile.repetition import forever
from scripts.hostile.target import Outcome, Target, unused_udp_port
from scripts.hostile.wire import CONTAINER, Message, Wire

_MESSAGE_BYTES = 1 << 16
_END: Message = {"type": "end"}
_N_AT_ONCE, _N_PORTS = 2, 8
_PACKETS_PER_S = 20


async def sdp(target: Target, outcome: Outcome) -> None:
    """A session description asks for a UDP port to be listened on, and packets come to it."""
    ports = [unused_udp_port() for _ in range(_N_PORTS)]
    head = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    packets = asyncio.create_task(_send_packets(ports))
    try:
        texts = [f"{head}m=audio {port} RTP/AVP 0\n".encode() for port in ports]
        await _send_all(target, outcome, texts, has_audio=False, n_at_once=_N_PORTS)
    finally:
        packets.cancel()


async def concat(target: Target, outcome: Outcome) -> None:
    """A list names a file of the server's disk, in several spellings."""
    lists = [f"ffconcat version 1.0\nfile '{name}'\n".encode() for name in _spellings(target)]
    await _send_all(target, outcome, lists, has_audio=False)


async def hls(target: Target, outcome: Outcome) -> None:
    """A playlist names a file of the server's disk, and an address to connect to."""
    async with _canary(outcome) as port:
        names = [*_spellings(target), f"http://127.0.0.1:{port}/a.ts", f"tcp://127.0.0.1:{port}"]
        head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:20\n#EXTINF:20.0,\n"
        lists = [f"{head}{name}\n#EXT-X-ENDLIST\n".encode() for name in names]
        await _send_all(target, outcome, lists, has_audio=False)


async def wav_1_hz(target: Target, outcome: Outcome) -> None:
    """A WAV says that a second has one sample: each byte would be hours."""
    await _send_all(target, outcome, [wav(rate=1, n_channels=1, data=bytes(20_000))])


async def wav_655_khz(target: Target, outcome: Outcome) -> None:
    """A WAV says that a second has 655,350 samples."""
    await _send_all(target, outcome, [wav(rate=655_350, n_channels=1, data=target.pcm * 4)])


async def wav_64_channels(target: Target, outcome: Outcome) -> None:
    """A WAV has 64 channels."""
    await _send_all(target, outcome, [wav(rate=48_000, n_channels=64, data=target.pcm * 4)])


async def wav_2_63(target: Target, outcome: Outcome) -> None:
    """A WAV says that it has 2^63 bytes."""
    await _send_all(target, outcome, [wav_of_64_bits(1 << 63, target.pcm), wav_of_64_bits((1 << 63) - 1, target.pcm)])


async def bomb(target: Target, outcome: Outcome) -> None:
    """Kilobytes of FLAC that are hours of silence in eight channels."""
    await _send_all(target, outcome, [flac_bomb(n_frames=5_000)])


async def garbage(target: Target, outcome: Outcome) -> None:
    """Noise that begins as a container does."""
    chance = random.Random(1)
    await _send_all(target, outcome, [head + chance.randbytes(60_000) for head in GARBAGE_HEADS])


async def drip(target: Target, outcome: Outcome) -> None:
    """A good container in messages of one byte."""
    data = wav(rate=16_000, n_channels=1, data=target.pcm)

    async def speak(wire: Wire) -> None:
        for start in range(len(data)):
            await wire.send(data[start : start + 1])

    async def deed(wire: Wire) -> NoReturn:
        await wire.greet(CONTAINER)
        await wire.converse(speak(wire))

    await forever(target, outcome, _N_AT_ONCE, deed)


async def _send_all(
    target: Target,
    outcome: Outcome,
    containers: Iterable[bytes],
    *,
    has_audio: bool = True,
    n_at_once: int = _N_AT_ONCE,
) -> None:
    """Send each of them in a session of its own, over and over. has_audio: else no words can be those of a client."""
    chosen, n_done = list(containers), 0

    def heard(message: Message) -> None:
        if message["type"] == "words" and not has_audio:
            outcome.faults.add("words came back that no client had sent")

    async def speak(wire: Wire, data: bytes) -> None:
        for start in range(0, len(data), _MESSAGE_BYTES):
            await wire.send(data[start : start + _MESSAGE_BYTES])
        await wire.say(_END)

    async def deed(wire: Wire) -> NoReturn:
        nonlocal n_done
        data = chosen[n_done % len(chosen)]
        n_done += 1
        await wire.greet(CONTAINER)
        await wire.converse(speak(wire, data), heard)

    await forever(target, outcome, n_at_once, deed, target.hold_s)


def _spellings(target: Target) -> list[str]:
    """Ways to name the bait: from the folder that the server was started in, and from the root."""
    path = Path(target.bait).resolve()
    return [target.bait, str(path), path.as_uri()]


async def _send_packets(ports: Sequence[int]) -> NoReturn:
    """Send RTP to each with a fiftieth of a second of sound in each packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        number = 0
        while True:
            number += 1
            head = (
                bytes([0x80, 0]) + (number & 0xFFFF).to_bytes(2, "big") + (160 * number).to_bytes(4, "big") + bytes(4)
            )
            for port in ports:
                sender.sendto(head + bytes(160), ("127.0.0.1", port))
            await asyncio.sleep(1 / _PACKETS_PER_S)


@asynccontextmanager
async def _canary(outcome: Outcome) -> AsyncIterator[int]:
    """Listen at a port that nobody was told of but by a container."""

    async def sing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        outcome.faults.add("the server connected to an address that a client named")
        writer.close()

    server = await asyncio.start_server(sing, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
