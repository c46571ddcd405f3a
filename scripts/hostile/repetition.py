"""An attack is one thing done again and again, by several at once, until it is stopped or was done often enough."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from anyio import fail_after

from scripts.hostile.target import NO_ANSWER, Outcome, Target
from scripts.hostile.wire import Over, Wire

# Less would keep the attackers themselves busy with being refused.
_PAUSE_S = 0.02
_OPENING_S = 10.0

Deed = Callable[[Wire], Awaitable[object]]
"""What is done with a connection that was just opened; it ends with Over, or returns the answer."""


async def attempt(target: Target, outcome: Outcome, deed: Deed, hold_s: float | None, given_up: str) -> None:
    """Do it once, and count how it ended; after `hold_s` it is given up."""
    wire: Wire | None = None
    try:
        with fail_after(hold_s):
            wire = await Wire.open(target)
            answer = str(await deed(wire))
    except Over as over:
        answer = over.answer
    except TimeoutError:
        answer = given_up
    except asyncio.CancelledError:
        outcome.answers["open at the end"] += 1
        raise
    finally:
        if wire:
            wire.abort()
    outcome.answers[answer] += 1


async def forever(target: Target, outcome: Outcome, n_at_once: int, deed: Deed, hold_s: float | None = None) -> None:
    """Do it until cancelled."""

    async def again() -> None:
        while True:
            await attempt(target, outcome, deed, hold_s, "left")
            await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(*(again() for _ in range(n_at_once)))


async def often(target: Target, outcome: Outcome, deed_of: Callable[[int], Deed]) -> None:
    """Do it as often, with as many at once, as the target says. deed_of: what is done the n-th time."""
    numbers = count()

    async def some() -> None:
        while (number := next(numbers)) < target.n_connections:
            await attempt(target, outcome, deed_of(number), target.hold_s, NO_ANSWER)

    await asyncio.gather(*(some() for _ in range(target.n_at_once)))
