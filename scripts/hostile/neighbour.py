"""The one who matters: somebody who speaks while others attack."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import median

import numpy as np
from anyio import move_on_after
from numpy.typing import NDArray

from scripts.hostile.forged import wav
from scripts.hostile.target import Target
from scripts.hostile.wire import CONTAINER, Message, Over, Wire
from simul_whisper import SAMPLE_RATE, SimulWhisperError, Word
from streaming.client import Client, LostError, paced
from streaming.events import Failed, Words

_PIECE_SAMPLES = SAMPLE_RATE // 10


@dataclass(frozen=True)
class Heard:
    """delays_s: of each word, from when its end was spoken. failure: why it was not heard to its end, or empty."""

    text: str
    delays_s: tuple[float, ...]
    failure: str

    @property
    def words(self) -> list[str]:
        """Without punctuation, which may differ with what was heard at once."""
        return re.findall(r"\w+", self.text.lower())

    def median_s(self, n_expected: int) -> float:
        return median(self._delays_s(n_expected))

    def p95_s(self, n_expected: int) -> float:
        delays = self._delays_s(n_expected)
        return delays[round(0.95 * (len(delays) - 1))]

    def _delays_s(self, n_expected: int) -> list[float]:
        """In order; a word that never came is infinitely late."""
        return sorted([*self.delays_s, *[math.inf] * max(1 - len(self.delays_s), n_expected - len(self.delays_s))])


async def listen(url: str, samples: NDArray[np.float32], token: str, patience_s: float) -> Heard:
    """Stream `samples` at the pace of speech, and wait for the rest of the words for so long."""
    text, delays, failure, started_at = "", list[float](), "no end", time.monotonic()

    async def speak() -> None:
        async for piece in paced(_pieces(samples)):
            await client.send(piece)
        client.end()

    async with Client(url, token=token, drafts=False) as client:
        speaking = asyncio.create_task(speak())
        try:
            with move_on_after(len(samples) / SAMPLE_RATE + patience_s):
                async for event in client:
                    if isinstance(event, Words):
                        text += event.text
                        now_s = time.monotonic() - started_at
                        delays += [now_s - word.end_s for word in event.words if word.is_spoken]
                    elif isinstance(event, Failed):
                        failure = event.reason.value
                failure = failure.removeprefix("no end")
        except LostError as lost:
            failure = lost.code
        except SimulWhisperError as error:
            failure = str(error)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    return Heard(text, tuple(delays), failure)


async def listen_by_container(target: Target, samples: NDArray[np.float32], patience_s: float) -> Heard:
    """Do the same with a WAV, which the server has to open as it does those of attackers."""
    text, delays, failure, started_at = "", list[float](), "no end", time.monotonic()
    wire: Wire | None = None

    async def speak(wire: Wire) -> None:
        await wire.send(wav(SAMPLE_RATE, 1, b""))
        async for piece in paced(_pieces(samples)):
            await wire.send((piece * 32767).astype("<i2").tobytes())
        await wire.say({"type": "end"})

    def heard(message: Message) -> None:
        nonlocal text
        if message["type"] == "words":
            text += message["text"]
            now_s = time.monotonic() - started_at
            delays.extend(now_s - word.end_s for word in (Word(**each) for each in message["words"]) if word.is_spoken)

    try:
        with move_on_after(len(samples) / SAMPLE_RATE + patience_s):
            wire = await Wire.open(target)
            await wire.greet({**CONTAINER, "options": {"drafts": False}})
            await wire.converse(speak(wire), heard)
    except Over as over:
        failure = over.answer.removeprefix("ended")
    finally:
        if wire:
            wire.abort()
    return Heard(text, tuple(delays), failure)


async def _pieces(samples: NDArray[np.float32]) -> AsyncIterator[NDArray[np.float32]]:
    for start in range(0, len(samples), _PIECE_SAMPLES):
        yield samples[start : start + _PIECE_SAMPLES]
