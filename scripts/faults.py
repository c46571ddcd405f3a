"""What the world does to a real server, one fault after another, as a table: does everybody still get every word?

python scripts/faults.py [--model base] [--short]

Words are right when they are those of the same recording streamed undisturbed. The exit status is 1 when a row is not ok.
"""

import argparse
import asyncio
import math
import re
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from simul_whisper import SAMPLE_RATE
from streaming.cable import cable
from streaming.client import Client, Reconnected, RefusedError, websocket_url
from streaming.events import Words
from streaming.load import upkeep
from streaming.protocol import End, Hello, Numbered, client_text, parse_server
from streaming.sources import chunked, read_audio

RECORDINGS = Path(__file__).parents[1] / "demos" / "recordings"
COMMAND = [sys.executable, "-m", "streaming.cli"]
PIECE_SAMPLES = SAMPLE_RATE // 10
GRACE_S = 10.0
# A kernel takes it for a small connection, not for this machine's.
RECEIVE_BUFFER_BYTES = 4096

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """cut_s: a connection is away, and a client does not read, for so long. speed: of speech; 1 is as people speak."""

    path: Path
    cut_s: float
    unread_s: float
    resume_s: float
    speed: float


FULL = Plan(RECORDINGS / "lighthouse.flac", cut_s=10, unread_s=30, resume_s=30, speed=1)
SHORT = Plan(RECORDINGS / "captions.flac", cut_s=1, unread_s=3, resume_s=2, speed=2)


class Server:
    """`simul-whisper serve` in a process of its own, which may die and be started again at the same port."""

    def __init__(self, flags: list[str]) -> None:
        self._flags, self._port = flags, 0
        self.start()

    def start(self) -> None:
        """Return when it is ready. Raises RuntimeError when it is not to be."""
        command = [*COMMAND, "serve", "--port", str(self._port), *self._flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        line = ""
        for line in self.process.stderr:
            if found := re.search(r"listening on \S+:(\d+);", line):
                self._port = int(found[1])
            elif line.endswith(": ready\n"):
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return
        raise RuntimeError(f"the server has ended: {line}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    @property
    def memory_mb(self) -> float:
        """NaN when it does not run."""
        return upkeep(self.url).memory_mb if self.process.poll() is None else math.nan


@contextmanager
def served(flags: list[str]) -> Iterator[Server]:
    server = Server(flags)
    try:
        yield server
    finally:
        server.kill()


# Clients


@dataclass(frozen=True)
class Heard:
    text: str
    is_resumed: tuple[bool, ...] = ()


async def pieces(samples: Samples, speed: float) -> AsyncIterator[Samples]:
    """Yield the audio in pieces, so many times as fast as it was spoken."""
    loop, due_at = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    for piece in chunked([samples], PIECE_SAMPLES):
        due_at += len(piece) / SAMPLE_RATE / speed
        await asyncio.sleep(max(0.0, due_at - loop.time()))
        yield piece


async def no_fault() -> None: ...


async def listen(url: str, samples: Samples, speed: float, fault: Callable[[], Awaitable[None]] = no_fault) -> Heard:
    """Stream the samples; when half of them are sent, the fault begins, and the audio goes on."""
    text, resumed = "", list[bool]()

    async def speak() -> None:
        n_sent, failing = 0, None
        async for piece in pieces(samples, speed):
            await client.send(piece)
            n_sent += len(piece)
            if failing is None and 2 * n_sent >= len(samples):
                failing = asyncio.ensure_future(fault())
        client.end()
        if failing:
            await failing

    async with Client(url) as client:
        speaking = asyncio.create_task(speak())
        async for event in client:
            if isinstance(event, Words):
                text += event.text
            elif isinstance(event, Reconnected):
                resumed.append(event.is_resumed)
        await speaking
    return Heard(text, tuple(resumed))


async def listen_late(server: Server, samples: Samples, speed: float, unread_s: float) -> Heard:
    """Stream the samples, and read nothing of what the server tells for so long."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    raw.connect(("127.0.0.1", server.port))
    raw.setblocking(False)
    async with connect(websocket_url(server.url), sock=raw, compression=None, max_queue=1, proxy=None) as connection:

        async def speak() -> None:
            await connection.send(client_text(Hello()))
            async for piece in pieces(samples, speed):
                await connection.send(np.round(piece * 32767).astype("<i2").tobytes())
            await connection.send(client_text(End()))

        speaking = asyncio.create_task(speak())
        await asyncio.sleep(unread_s)
        messages = [parse_server(text) async for text in connection if isinstance(text, str)]
        await speaking
    events = [message.event for message in messages if isinstance(message, Numbered)]
    return Heard("".join(event.text for event in events if isinstance(event, Words)))


async def refusal(url: str) -> str:
    """Return the code with which a session is refused; empty when it is not."""
    try:
        async with Client(url) as client:
            client.end()
            async for _ in client:
                pass
    except RefusedError as error:
        return error.code
    return ""


# Faults: each returns what was heard beside it, or in spite of it, and whether all else is as expected.

Outcome = tuple[list[Heard], bool]


async def server_killed(server: Server, samples: Samples, plan: Plan) -> Outcome:
    async def kill() -> None:
        server.kill()
        await asyncio.to_thread(server.start)

    heard = await listen(server.url, samples, plan.speed, kill)
    return [heard], heard.is_resumed == (False,)


async def client_killed(server: Server, samples: Samples, plan: Plan) -> Outcome:
    command = [*COMMAND, "connect", server.url, str(plan.path), "--realtime"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as client:
        while client.poll() is None and not upkeep(server.url).sessions:
            await asyncio.sleep(0.1)

        async def kill() -> None:
            client.kill()

        heard = await listen(server.url, samples, plan.speed, kill)
    return [heard], client.returncode < 0 and await is_empty(server, plan.resume_s + GRACE_S)


async def connection_cut(server: Server, samples: Samples, plan: Plan) -> Outcome:
    with cable(server.port) as line:

        async def cut() -> None:
            line.n_refused = sys.maxsize
            line.pull()
            await asyncio.sleep(plan.cut_s)
            line.n_refused = 0

        heard = await listen(f"ws://127.0.0.1:{line.port}", samples, plan.speed, cut)
    return [heard], heard.is_resumed == (True,)


async def slow_reader(server: Server, samples: Samples, plan: Plan) -> Outcome:
    late = listen_late(server, samples, plan.speed, plan.unread_s)
    return list(await asyncio.gather(late, listen(server.url, samples, plan.speed))), True


async def too_many(server: Server, samples: Samples, plan: Plan) -> Outcome:
    codes = list[str]()

    async def ask() -> None:
        codes.append(await refusal(server.url))

    both = (listen(server.url, samples, plan.speed, fault) for fault in (ask, no_fault))
    return list(await asyncio.gather(*both)), codes == ["too_many_sessions"]


async def stopped(server: Server, samples: Samples, plan: Plan) -> Outcome:
    codes = list[str]()

    async def stop() -> None:
        server.process.terminate()
        # A signal takes its time; whoever is let in before says nothing and leaves.
        while not (code := await refusal(server.url)):
            pass
        codes.append(code)

    heard = await listen(server.url, samples, plan.speed, stop)
    status = await asyncio.to_thread(server.process.wait, GRACE_S)
    return [heard], codes == ["stopping"] and heard.is_resumed == () and status == 0


async def is_empty(server: Server, patience_s: float) -> bool:
    """Wait until nobody has a place any more."""
    for _ in range(round(patience_s / 0.1)):
        held = upkeep(server.url)
        if (held.sessions, held.connections) == (0, 0):
            return True
        await asyncio.sleep(0.1)
    return False


FAULTS = (
    ("server killed, started again", "a new session, every word once", server_killed),
    ("client killed", "its place is free, a neighbour hears all", client_killed),
    ("connection cut for {cut_s:g} s", "resumed, every word once", connection_cut),
    ("nothing read for {unread_s:g} s", "every word, later; a neighbour hears all", slow_reader),
    ("one session too many", "refused; the others hear all", too_many),
    ("SIGTERM", "new ones refused, all words, status 0", stopped),
)


async def run(server: Server, plan: Plan) -> bool:
    """Print the table; return whether every row is ok."""
    samples, is_good = read_audio(plan.path), True
    undisturbed = await listen(server.url, samples, plan.speed)
    show("fault", "expected", "equal", "MB", "MB after", "ok")
    for name, expected, fault in FAULTS:
        before_mb = server.memory_mb
        heard, is_as_expected = await fault(server, samples, plan)
        is_equal = all(each.text == undisturbed.text for each in heard)
        is_good &= is_equal and is_as_expected
        after_mb = server.memory_mb
        marks = [("no", "yes")[each] for each in (is_equal, is_equal and is_as_expected)]
        show(name.format(**vars(plan)), expected, marks[0], f"{before_mb:.0f}", f"{after_mb:.0f}", marks[1])
    return is_good


def show(name: str, expected: str, *cells: str) -> None:
    print(f"{name:30}{expected:42}" + "".join(f"{cell:>9}" for cell in cells), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="tiny.en", help="of the server (default: tiny.en)")
    parser.add_argument("--short", action="store_true", help="a short recording, short faults: half a minute in all")
    options = parser.parse_args()
    plan = SHORT if options.short else FULL
    limits = ["--max-sessions", "2", "--resume-s", f"{plan.resume_s}", "--drain-s", "60"]
    with served(["--model", options.model, "--language", "en", "--padding-len", "3", *limits]) as server:
        return 0 if asyncio.run(run(server, plan)) else 1


if __name__ == "__main__":
    sys.exit(main())
