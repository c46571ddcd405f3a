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
_HEAT_S = 5.0
_BETWEEN_SIGNALS_S = 1.0
_PATIENCE_S = 45.0


async def stopping(server: OwnServer, target: Target, attack: Attack, n_signals: int) -> float | None:
    """Stop it under attack; return how long it took from the last signal, None when it had to be killed."""
    async with attacking(attack, target):
        await asyncio.sleep(_HEAT_S)
        for _ in range(n_signals - 1):
            server.process.terminate()
            await asyncio.sleep(_BETWEEN_SIGNALS_S)
        began = time.monotonic()
        server.process.terminate()
        try:
            await asyncio.to_thread(server.process.wait, _PATIENCE_S)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - began
