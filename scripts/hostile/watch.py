"""Looks at a server from outside for as long as something goes on: is it in health, and what does it hold?"""

import asyncio
import math
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from anyio import fail_after

_HEALTH_S, _HOLDINGS_S = 0.05, 0.5
_PATIENCE_S = 5.0


@dataclass
class Seen:
    """health_s: how long each answer took. failures: what came in place of status 200. memory_mb: now and then."""

    health_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    memory_mb: list[float] = field(default_factory=list)
    most_udp_sockets: int = 0

    @property
    def worst_s(self) -> float:
        return max(self.health_s, default=math.nan)

    @property
    def p99_s(self) -> float:
        ordered = sorted(self.health_s)
        return ordered[round(0.99 * (len(ordered) - 1))] if ordered else math.nan

    @property
    def peak_mb(self) -> float:
        return max(self.memory_mb, default=math.nan)


@dataclass(frozen=True)
class Holdings:
    """What a server holds at a moment. udp_sockets: None where that cannot be told."""

    memory_mb: float
    udp_sockets: int | None = None


async def health(url: str, patience_s: float = _PATIENCE_S) -> str:
    """Return the status of /health, or why there is none. url: of the server, its scheme ws or http."""
    try:
        with fail_after(patience_s):
            return await _status(url)
    except TimeoutError:
        return "no answer"
    except OSError:
        return "no connection"


async def _status(url: str) -> str:
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme in ("wss", "https") else None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if tls else 80), ssl=tls)
    try:
        writer.write(f"GET /health HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.transport.abort()
    return answer.split(b" ", 2)[1].decode() if answer.count(b" ") > 1 else "closed"


@asynccontextmanager
async def watching(url: str, holdings: Callable[[], Holdings]) -> AsyncIterator[Seen]:
    """Look until it is left. holdings: may block."""
    seen = Seen()
    tasks = [asyncio.create_task(_forever(once, seen)) for once in (_look_at_health(url), _look_at(holdings))]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception):
                raise each


_Look = tuple[float, Callable[[Seen], Coroutine[Any, Any, None]]]


async def _forever(look: _Look, seen: Seen) -> None:
    period_s, once = look
    loop = asyncio.get_running_loop()
    due_at = loop.time()
    while True:
        await once(seen)
        due_at = max(loop.time(), due_at + period_s)
        await asyncio.sleep(due_at - loop.time())


def _look_at_health(url: str) -> _Look:
    async def once(seen: Seen) -> None:
        began = time.monotonic()
        status = await health(url)
        seen.health_s.append(time.monotonic() - began)
        if status != "200":
            seen.failures[status] += 1

    return _HEALTH_S, once


def _look_at(holdings: Callable[[], Holdings]) -> _Look:
    async def once(seen: Seen) -> None:
        held = await asyncio.to_thread(holdings)
        seen.memory_mb.append(held.memory_mb)
        seen.most_udp_sockets = max(seen.most_udp_sockets, held.udp_sockets or 0)

    return _HOLDINGS_S, once
