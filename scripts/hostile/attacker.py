"""A process that attacks, so that what measures is not kept busy by it.

python -m scripts.hostile.attacker NAME TARGET

It says `begun`, goes on until its standard input is closed or it is done, and says what came of it as JSON. `attacking`
is the other end.
"""

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio import move_on_after

from scripts.hostile.attacks import BY_NAME, Attack
from scripts.hostile.target import Outcome, Target
from scripts.hostile.wire import Over

_BEGIN_S, _END_S = 30.0, 10.0


async def attack(name: str, target: Target) -> Outcome:
    """Attack until standard input is closed."""
    outcome, loop = Outcome(), asyncio.get_running_loop()
    attacking = asyncio.ensure_future(BY_NAME[name].run(target, outcome))

    def wait_for_end() -> None:
        sys.stdin.read()
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(attacking.cancel)

    threading.Thread(target=wait_for_end, daemon=True).start()
    print("begun", flush=True)
    try:
        with suppress(asyncio.CancelledError):
            await attacking
    except Over as over:
        outcome.answers[over.answer] += 1
    return outcome


class Attacking:
    """An attack that goes on. outcome: once it is over."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.outcome = Outcome()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until it is over by itself; return whether it is."""
        with move_on_after(timeout_s):
            await self._process.wait()
            return True
        return False

    async def stop(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        said = b""
        with move_on_after(_END_S):
            said = await self._process.stdout.read()
            await self._process.wait()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        self.outcome = Outcome.read(said.decode()) if said else Outcome(faults={"the attacker itself has failed"})


@asynccontextmanager
async def attacking(attack: Attack, target: Target) -> AsyncIterator[Attacking]:
    """Begin an attack, and end it."""
    command = [sys.executable, "-m", "scripts.hostile.attacker", attack.name, target.text()]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    begun = Attacking(process)
    try:
        assert process.stdout
        with move_on_after(_BEGIN_S):
            await process.stdout.readline()
        yield begun
    finally:
        await begun.stop()


def main() -> None:
    # Ctrl-C is for the one that started this; when it ends, so does this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name, target = sys.argv[1:]
    print(asyncio.run(attack(name, Target.read(target))).text())


if __name__ == "__main__":
    main()
