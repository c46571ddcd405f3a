"""Is a server that is told to stop while it is attacked gone in time?"""

import asyncio
import subprocess
import time

from scripts.hostile.attacker import attacking
from scripts.hostile.attacks import Attack
from scripts.hostile.target import Target
from scripts.own_server import OwnServer

# Beyond the drain time; and after a second signal.
MOST_BEYOND_DRAIN_S, MOST_AT_ONCE_S = 10.0, 2.0
_BETWEEN_SIGNALS_S = 1.0
PATIENCE_S = 45.0


async def stopping(server: OwnServer, target: Target, attack: Attack, heat_s: float, n_signals: int) -> float | None:
    """Stop it after `heat_s` of attack; return how long it took from the last signal; None: for ever."""
    async with attacking(attack, target):
        await asyncio.sleep(heat_s)
        for _ in range(n_signals - 1):
            server.process.terminate()
            await asyncio.sleep(_BETWEEN_SIGNALS_S)
        began = time.monotonic()
        server.process.terminate()
        try:
            await asyncio.to_thread(server.process.wait, PATIENCE_S)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - began
