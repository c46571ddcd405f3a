"""What the world does to a real server, one fault after another, as a table: does everybody still get every word?

python scripts/faults.py [--model base] [--short]

Equal are words to those of the same recording streamed undisturbed. The exit status is 1 when a row is not ok.
"""

import argparse
import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.own_server import COMMAND, OwnServer
from scripts.tcp_relay import relay_to
from simul_whisper import SAMPLE_RATE
from streaming.audio.files import chunked, read_audio
from streaming.client import RECOVERY, Client, Reconnected, RefusedError
from streaming.evaluation.load import upkeep
from streaming.events import Words

RECORDINGS = Path(__file__).parents[1] / "demos" / "recordings"
PIECE_SAMPLES = SAMPLE_RATE // 10
GRACE_S = 10.0

Fault = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Plan:
    """cut_s: a connection is away, and unread_s: nothing is read, for so long. speed: 1 is as people speak."""

    path: Path
    cut_s: float
    unread_s: float
    resume_s: float
    speed: float

    @cached_property
    def samples(self) -> NDArray[np.float32]:
        return read_audio(self.path)


FULL = Plan(RECORDINGS / "lighthouse.flac", cut_s=10, unread_s=30, resume_s=30, speed=1)
SHORT = Plan(RECORDINGS / "captions.flac", cut_s=1, unread_s=3, resume_s=2, speed=3)


@dataclass(frozen=True)
class Heard:
    """is_resumed: of each time that the connection was back. outcome: what the fault returned."""

    text: str
    is_resumed: tuple[bool, ...]
    outcome: object


async def pieces(plan: Plan) -> AsyncIterator[NDArray[np.float32]]:
    """Yield the recording at the plan's speed."""
    loop, due_at = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    for piece in chunked([plan.samples], PIECE_SAMPLES):
        due_at += len(piece) / SAMPLE_RATE / plan.speed
        await asyncio.sleep(max(0.0, due_at - loop.time()))
        yield piece


async def listen(server: OwnServer, plan: Plan, fault: Fault | None = None, port: int = 0) -> Heard:
    """Stream the recording; in its middle the fault begins, and the audio goes on. port: of a relay."""
    text, resumed = "", list[bool]()

    async def speak() -> None:
        async for piece in pieces(plan):
            await client.send(piece)
        client.end()

    async def fail() -> object:
        await asyncio.sleep(len(plan.samples) / SAMPLE_RATE / plan.speed / 2)
        return await fault() if fault else None

    async with Client(f"ws://127.0.0.1:{port or server.port}") as client:
        doing = asyncio.gather(speak(), fail())
        async for event in client:
            if isinstance(event, Words):
                text += event.text
            elif isinstance(event, Reconnected):
                resumed.append(event.is_resumed)
        return Heard(text, tuple(resumed), (await doing)[1])


async def refusal(server: OwnServer) -> str:
    """Return the code with which a session is refused; empty when it is not."""
    try:
        async with Client(server.url, recovery=replace(RECOVERY, patience_s=0)) as client:
            client.end()
            async for _ in client:
                pass
    except RefusedError as error:
        return error.code
    return ""


# Faults: each returns what was heard beside it, or in spite of it, and whether all else is as expected.

Outcome = tuple[Sequence[Heard], bool]


async def server_killed(server: OwnServer, plan: Plan) -> Outcome:
    heard = await listen(server, plan, lambda: asyncio.to_thread(server.start_again))
    return [heard], heard.is_resumed == (False,)


async def client_killed(server: OwnServer, plan: Plan) -> Outcome:
    command = [*COMMAND, "connect", server.url, str(plan.path), "--realtime"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as client:
        while client.poll() is None and not upkeep(server.url).sessions:
            await asyncio.sleep(0.1)

        heard = await listen(server, plan, lambda: asyncio.to_thread(client.kill))
    return [heard], client.returncode < 0 and await is_empty(server, plan.resume_s + GRACE_S)


async def connection_cut(server: OwnServer, plan: Plan) -> Outcome:
    with relay_to(server.port) as line:
        heard = await listen(server, plan, lambda: asyncio.to_thread(line.stay_away, plan.cut_s), line.port)
    return [heard], heard.is_resumed == (True,)


async def slow_reader(server: OwnServer, plan: Plan) -> Outcome:
    with relay_to(server.port) as line:
        slow = listen(server, plan, lambda: asyncio.to_thread(line.hold_answers, plan.unread_s), line.port)
        heard = await asyncio.gather(slow, listen(server, plan))
    return heard, not heard[1].is_resumed


async def too_many(server: OwnServer, plan: Plan) -> Outcome:
    heard = await asyncio.gather(listen(server, plan, lambda: refusal(server)), listen(server, plan))
    return heard, heard[0].outcome == "too_many_sessions"


async def stopped(server: OwnServer, plan: Plan) -> Outcome:
    async def stop() -> str:
        server.process.terminate()
        # A signal takes its time; whoever is let in before says nothing and leaves.
        return await refusal(server) or await refusal(server)

    heard = await listen(server, plan, stop)
    status = await asyncio.to_thread(server.process.wait, GRACE_S)
    return [heard], (heard.outcome, heard.is_resumed, status) == ("stopping", (), 0)


async def is_empty(server: OwnServer, patience_s: float) -> bool:
    """Wait until nobody has a place any more."""
    until = time.monotonic() + patience_s
    while (held := upkeep(server.url)).sessions + held.connections and time.monotonic() < until:
        await asyncio.sleep(0.1)
    return not held.sessions + held.connections


FAULTS = (
    ("server killed, started again", "a new session, every word once", server_killed),
    ("client killed", "its place is free, a neighbour hears all", client_killed),
    ("connection cut for {cut_s:g} s", "resumed, every word once", connection_cut),
    ("nothing read for {unread_s:g} s", "every word, later; a neighbour hears all", slow_reader),
    ("one session too many", "refused; the others hear all", too_many),
    ("SIGTERM", "new ones refused, all words, status 0", stopped),
)


async def run(server: OwnServer, plan: Plan) -> bool:
    """Print the table; return whether every row is ok."""
    undisturbed = await listen(server, plan)
    is_good = undisturbed.text != ""
    show("fault", "expected", "equal", "MB", "MB after", "ok")
    for name, expected, fault in FAULTS:
        before = memory(server)
        heard, is_as_expected = await fault(server, plan)
        is_equal = all(words(each.text) == words(undisturbed.text) for each in heard)
        is_good &= is_equal and is_as_expected
        marks = [("no", "yes")[each] for each in (is_equal, is_equal and is_as_expected)]
        show(name.format(**vars(plan)), expected, marks[0], before, memory(server), marks[1])
    return is_good


def words(text: str) -> list[str]:
    """Without punctuation: a session that begins anew has less before it to tell by, and may set other marks."""
    return re.findall(r"\w+", text.lower())


def memory(server: OwnServer) -> str:
    return f"{upkeep(server.url).memory_mb:.0f}" if server.process.poll() is None else "gone"


def show(name: str, expected: str, *cells: str) -> None:
    print(f"{name:30}{expected:42}" + "".join(f"{cell:>9}" for cell in cells), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="tiny.en", help="of the server (default: tiny.en)")
    parser.add_argument("--short", action="store_true", help="a short recording, short faults: half a minute in all")
    options = parser.parse_args()
    plan = SHORT if options.short else FULL
    limits = ["--max-sessions", "2", "--resume-s", f"{plan.resume_s}", "--drain-s", "60"]
    server = OwnServer(["--model", options.model, "--language", "en", "--padding-len", "3", *limits])
    try:
        return 0 if asyncio.run(run(server, plan)) else 1
    finally:
        server.kill()


if __name__ == "__main__":
    sys.exit(main())
