"""The server that is attacked: one of our own, or one that runs somewhere."""

import asyncio
import time
from typing import NoReturn

from anyio import move_on_after

from scripts.hostile.figures import MOST_MORE_MB
from scripts.hostile.forged import wav
from scripts.hostile.processes import memory_mb, udp_sockets
from scripts.hostile.target import Target
from scripts.hostile.watch import Holdings, health
from scripts.hostile.wire import CONTAINER, Over, Wire
from scripts.own_server import OwnServer
from simul_whisper import ConfigError
from streaming.evaluation.load import upkeep

_LOOK_S = 0.5
_HEALTH_S = 2.0
_WARM_UP_S = 30.0


class Subject:
    """admin_url: of health and metrics. own: its process; None when it was started by somebody else."""

    def __init__(self, url: str, admin_url: str, token: str, own: OwnServer | None) -> None:
        self.url, self.admin_url, self.own = url, admin_url, own
        self._token = token

    def holdings(self) -> Holdings:
        """For any thread; what cannot be told is not a number."""
        if self.own:
            pid = self.own.process.pid
            return Holdings(memory_mb(pid), udp_sockets(pid))
        try:
            return Holdings(upkeep(self.admin_url, self._token).memory_mb)
        except ConfigError:
            return Holdings(float("nan"))

    async def settled(self, before_mb: float, patience_s: float) -> tuple[float, str]:
        """Wait until it is at rest and holds what it held before; return what it holds, and what is wrong with it."""
        until = time.monotonic() + patience_s
        wrong, now_mb = await self._wrong(), 0.0
        while True:
            now_mb = (await asyncio.to_thread(self.holdings)).memory_mb
            if not (wrong or now_mb - before_mb > MOST_MORE_MB) or time.monotonic() > until:
                return now_mb, wrong
            await asyncio.sleep(_LOOK_S)
            wrong = await self._wrong()

    async def _wrong(self) -> str:
        if self.own and self.own.process.poll() is not None:
            return "the server has died"
        if (status := await health(self.admin_url, _HEALTH_S)) != "200":
            return f"the server does not recover ({status})"
        try:
            n_left = (await asyncio.to_thread(upkeep, self.admin_url, self._token)).sessions
        except ConfigError:
            return "the server tells no counts"
        return f"sessions were left behind ({n_left})" if n_left else ""


async def warm_up(target: Target) -> None:
    """Have the server do once what it does at least for others, so that it holds what it always holds."""
    for greeting, audio in (({"type": "hello", "version": 1}, target.pcm), (CONTAINER, wav(16_000, 1, target.pcm))):
        with move_on_after(_WARM_UP_S):
            try:
                await _heard(target, greeting, audio)
            except Over as over:
                if over.answer != "ended":
                    raise ConfigError(f"the server cannot be used: {over}") from over


async def _heard(target: Target, greeting: dict[str, object], audio: bytes) -> NoReturn:
    wire = await Wire.open(target)

    async def speak() -> None:
        await wire.send(audio)
        await wire.say({"type": "end"})

    try:
        await wire.greet(greeting)
        await wire.converse(speak())
    finally:
        wire.abort()
