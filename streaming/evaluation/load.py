"""What a server bears: many listeners at once, many short ones in a row, malformed messages beside a good one.

It measures from outside, over the protocol and the server's own counts. It prints nothing.
"""

import asyncio
import json
import random
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from simul_whisper import SAMPLE_RATE, ConfigError, Word
from streaming.client import Client, paced, websocket_url
from streaming.events import Ended, Event, Failed, Words
from streaming.protocols.dialect import End, Flush
from streaming.protocols.native import Ack, ClientMessage, Numbered, Refused, client_text, parse_server
from streaming.replay.recovery import RECOVERY, Recovery
from streaming.sessions.request import SessionRequest

# In the order of `Upkeep`, after the memory.
_COUNTS = (
    "simul_whisper_threads",
    "process_open_fds",
    "simul_whisper_sessions_open",
    "simul_whisper_connections_open",
)
_MOST_PAGE_BYTES = 1 << 20
_PIECE_SAMPLES = SAMPLE_RATE // 10
IN_TIME_S = 2.5

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Listening:
    """What one client was told. delays_s: of each word, from when its end was spoken; final_s: from the last sample.

    words: all that have a sound.
    """

    text: str
    delays_s: tuple[float, ...]
    final_s: float
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Upkeep:
    """What the server holds."""

    memory_mb: float
    threads: int
    descriptors: int
    sessions: int
    connections: int


@dataclass(frozen=True)
class Share:
    """Of several clients at once."""

    n_clients: int
    n_words: int
    in_time: float
    median_s: float
    p95_s: float
    final_median_s: float
    final_worst_s: float
    n_texts_equal: int


async def listen(
    url: str,
    samples: Samples,
    token: str = "",
    *,
    realtime: bool = True,
    drafts: bool = True,
    recovery: Recovery = RECOVERY,
    from_s: float = 0.0,
) -> Listening:
    """Stream `samples` once. drafts: as most clients do, ask for text that may still change, which costs the server.

    recovery: what the client does after errors. from_s: delays are of words that end later than that.
    """
    delays, text, told, spoken_at, started_at = list[float](), "", list[Word](), 0.0, time.monotonic()
    async with Client(url, token=token, drafts=drafts, recovery=recovery) as client:

        async def speak() -> None:
            nonlocal spoken_at
            async for piece in paced(_pieces(samples)) if realtime else _pieces(samples):
                await client.send(piece)
            client.end()
            spoken_at = time.monotonic()

        speaking = asyncio.create_task(speak())
        async for event in client:
            if isinstance(event, Words):
                text += event.text
                words = [word for word in event.words if word.is_spoken]
                told += words
                delays += [time.monotonic() - started_at - word.end_s for word in words if word.end_s >= from_s]
            elif isinstance(event, Failed):
                raise ConfigError(f"the session failed: {event}")
        await speaking
    return Listening(text, tuple(delays), time.monotonic() - spoken_at, tuple(told))


async def _pieces(samples: Samples) -> AsyncIterator[Samples]:
    for start in range(0, len(samples), _PIECE_SAMPLES):
        yield samples[start : start + _PIECE_SAMPLES]


async def listen_together(
    url: str, samples: Samples, n_clients: int, expected: str, token: str = "", *, drafts: bool = True
) -> Share:
    """Stream `samples` with so many clients at once, each begun a little after the one before."""

    async def later(after_s: float) -> Listening:
        await asyncio.sleep(after_s)
        return await listen(url, samples, token, drafts=drafts)

    heard = await asyncio.gather(*(later(n / n_clients) for n in range(n_clients)))
    delays = sorted(delay for each in heard for delay in each.delays_s) or [float("nan")]
    finals = [each.final_s for each in heard]
    return Share(
        n_clients,
        sum(len(each.delays_s) for each in heard),
        sum(delay <= IN_TIME_S for delay in delays) / len(delays),
        median(delays),
        delays[round(0.95 * (len(delays) - 1))],
        median(finals),
        max(finals),
        sum(each.text == expected for each in heard),
    )


async def listen_in_a_row(url: str, samples: Samples, n_sessions: int, expected: str, token: str = "") -> int:
    """Stream `samples` as fast as it goes, again and again; return how often the text was the expected one."""
    n_equal = 0
    for _ in range(n_sessions):
        n_equal += (await listen(url, samples, token, realtime=False)).text == expected
    return n_equal


async def fuzz(url: str, n_messages: int, seed: int, token: str = "") -> Counter[str]:
    """Send so many malformed messages, a few in each connection; return how often each answer came."""
    chance, answers, n_left = random.Random(seed), Counter[str](), n_messages
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    while n_left > 0:
        messages = [_malformed(chance) for _ in range(min(n_left, chance.randint(1, 4)))]
        n_left -= len(messages)
        hello = [client_text(SessionRequest())] if chance.random() < 0.7 else []
        async with connect(websocket_url(url), additional_headers=headers, compression=None, proxy=None) as socket:
            with suppress(ConnectionClosed):
                for message in [*hello, *messages, client_text(End()), client_text(End())]:
                    await socket.send(message)
            answers[await _answer(socket)] += 1
    return answers


async def _answer(socket: Any) -> str:
    """Return the code of the error that a connection ends with; `ended` where a session ended well before it."""
    said = "nothing"
    with suppress(ConnectionClosed):
        async for text in socket:
            message = parse_server(text)
            if isinstance(message, Refused):
                said = message.reason.value
            elif isinstance(message, Numbered):
                said = _ending(message.event) or said
    return said if said != "nothing" else f"closed {socket.close_code}"


def _ending(event: Event | None) -> str:
    if isinstance(event, Failed):
        return event.reason.value
    return "ended" if isinstance(event, Ended) else ""


_REQUEST = SessionRequest(engine={"language": "en"}, voice={"vad": True})
_GOOD: tuple[ClientMessage, ...] = (_REQUEST, Flush(), End(), Ack(1))
_VALUES: tuple[Any, ...] = (None, -1, 0, 2**70, 1e300, "", "\ud800", [], {}, [[]], True, "hello", "0" * 400)


def _malformed(chance: random.Random) -> str | bytes:
    """Return a message that is damaged somewhere."""
    text = client_text(chance.choice(_GOOD))
    match chance.randrange(6):
        case 0:
            return chance.randbytes(chance.randrange(600))
        case 1:
            return text[: chance.randrange(len(text))]
        case 2:
            at = chance.randrange(len(text))
            return text[:at] + chr(chance.randrange(1, 0xD800)) + text[at + 1 :]
        case 3:
            return "".join(chr(chance.randrange(1, 0x2FF)) for _ in range(chance.randrange(80)))
        case _:
            said: dict[str, Any] = json.loads(text)
            inside = chance.choice([said, *(each for each in said.values() if isinstance(each, dict))])
            inside[chance.choice([*inside, "speed"])] = chance.choice(_VALUES)
            return json.dumps(said)


def upkeep(url: str, token: str = "") -> Upkeep:
    """Ask the server's counts. Raises ConfigError when it does not tell them."""
    parts = urlsplit(websocket_url(url))
    page = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}/metrics"
    request = urllib.request.Request(page, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            values = _values(answer.read(_MOST_PAGE_BYTES).decode())
            counts = [int(values.get(name, 0)) for name in _COUNTS]
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"{page}: {error}") from error
    return Upkeep(values.get("process_resident_memory_bytes", float("nan")) / 1e6, *counts)


def _values(page: str) -> Mapping[str, float]:
    """Return what is counted, of all models together where there are several."""
    values = dict[str, float]()
    for name, value in re.findall(r"^(\w+)(?:\{model=\"[^}]*\})? (\S+)$", page, re.MULTILINE):
        values[name] = values.get(name, 0.0) + float(value)
    return values
