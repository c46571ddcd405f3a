"""What one process needs to tell many readers what a session says: processor time for each message and reader.

python scripts/fan_out.py [--readers 500] [--messages 100]

It is a relay as one would stand between a server and an audience: each event is written down once, and sent over a
WebSocket on loopback to every reader. The readers are in another process, which counts what comes. The exit status is 1
when a message is missing.
"""

import argparse
import asyncio
import subprocess
import sys
import time

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

from simul_whisper import Word
from streaming.events import Words
from streaming.protocols.native import Numbered, server_text

_WORDS = (Word(" lighthouse", 3.1, 3.7, 0.97, "en"), Word(" keeper,", 3.7, 4.2, 0.91, "en"))
# Between two messages, so that none waits for the one before.
_PAUSE_S = 0.05


async def _read(port: int, n_readers: int, n_messages: int) -> None:
    async def read() -> int:
        async with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None, open_timeout=60) as socket:
            for _ in range(n_messages):
                await socket.recv()
            return n_messages

    print(sum(await asyncio.gather(*(read() for _ in range(n_readers)))))


async def _told(n_readers: int, n_messages: int) -> tuple[float, int]:
    """Return the seconds of processor time that telling took, and how many messages came."""
    over = asyncio.Event()

    async def stay(_: ServerConnection) -> None:
        await over.wait()

    async with serve(stay, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        reading = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--port", f"{port}", "--readers", f"{n_readers}", "--messages", f"{n_messages}",
            stdout=subprocess.PIPE,
        )  # fmt: skip
        while len(server.connections) < n_readers:
            await asyncio.sleep(0.1)
        started = time.process_time()
        for number in range(1, n_messages + 1):
            broadcast(server.connections, server_text(Numbered(number, Words(_WORDS, 5.0))))
            await asyncio.sleep(_PAUSE_S)
        spent_s = time.process_time() - started
        counted, _ = await reading.communicate()
        over.set()
    return spent_s, int(counted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.port:
        asyncio.run(_read(options.port, options.readers, options.messages))
        return 0
    spent_s, n_came = asyncio.run(_told(options.readers, options.messages))
    n_sent = options.readers * options.messages
    print(f"{n_sent} messages to {options.readers} readers: {1e6 * spent_s / n_sent:.1f} us of processor time each")
    print(f"one core tells {n_sent / spent_s:,.0f} messages a second; {n_came} of {n_sent} came")
    return int(n_came < n_sent)


if __name__ == "__main__":
    sys.exit(main())
