"""Audio at the pace of speech."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE


async def paced(source: AsyncIterator[NDArray[np.float32]]) -> AsyncIterator[NDArray[np.float32]]:
    """Yield the pieces of audio at the pace of speech: each when its last sample has been spoken."""
    loop, due_at = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    async for samples in source:
        due_at += len(samples) / SAMPLE_RATE
        await asyncio.sleep(max(0.0, due_at - loop.time()))
        yield samples
