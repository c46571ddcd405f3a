"""The client over connections that are cut, and over servers that are killed: every word comes once."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.tcp_relay import TcpRelay, relay_to
from simul_whisper import SAMPLE_RATE, AudioFormatError, ConfigError, Word
from streaming.client import (
    RECOVERY,
    Client,
    ClientEvent,
    ConnectionLostError,
    Reconnected,
    RefusedError,
    websocket_url,
)
from streaming.events import (
    Ended,
    Failed,
    Flushed,
    Translation,
    Words,
)
from streaming.server.access import Access
from streaming.server.run import bound_socket
from streaming.server.tokens import one_token
from streaming.server.translations import Translations
from tests.streaming.serving import Served, serving, text_of, with_limits
from tests.streaming.shouting import Shouting
from tests.tones import random_words, speech_of

SPEECH = speech_of(random_words(40, 1))
PIECES = np.array_split(SPEECH.samples, 200)


async def _nothing(_: int) -> None: ...


async def spoken(client: Client, on_piece: Callable[[int], Awaitable[None]] = _nothing) -> list[ClientEvent]:
    """Speak, and return all events. on_piece: called before each piece, with its number."""
    events = list[ClientEvent]()

    async def speak() -> None:
        for n, piece in enumerate(PIECES):
            await on_piece(n)
            await client.send(piece)
            await asyncio.sleep(0)
        client.end()

    async with client:
        speaking = asyncio.create_task(speak())
        async for event in client:
            events.append(event)
        await speaking
    return events


def words_of(events: list[ClientEvent]) -> list[Word]:
    return [word for event in events if isinstance(event, Words) for word in event.words]


def test_all_that_is_said_comes_once(served: Served) -> None:
    events = asyncio.run(spoken(Client(served.url)))
    assert text_of(events) == SPEECH.text
    assert events[-1] == Ended(len(SPEECH.samples) / SAMPLE_RATE)


def test_an_address_is_enough(served: Served) -> None:
    for url in (f"ws://127.0.0.1:{served.port}", f"http://127.0.0.1:{served.port}/"):
        assert text_of(asyncio.run(spoken(Client(url)))) == SPEECH.text


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "ws://", "ws://[", "ws://a:99999", ""])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="expected a URL"):
        websocket_url(url)


def test_a_flush_is_answered(served: Served) -> None:
    async def flushed() -> list[ClientEvent]:
        events = list[ClientEvent]()
        async with Client(served.url) as client:
            await client.send(SPEECH.samples)
            client.flush()
            async for event in client:
                events.append(event)
                if isinstance(event, Flushed):
                    client.end()
        return events

    events = asyncio.run(flushed())
    assert events[-3] == Flushed(len(SPEECH.samples) / SAMPLE_RATE)
    assert text_of(events) == SPEECH.text


def test_refusals_are_errors() -> None:
    with serving(max_sessions=1, access=Access(one_token("secret", "--token"))) as served:
        with pytest.raises(RefusedError, match="unauthorized"):
            asyncio.run(spoken(Client(served.url)))
        with pytest.raises(RefusedError, match="segment_length"):
            asyncio.run(spoken(Client(served.url, token="secret", settings={"segment_length": 0.01})))
        with pytest.raises(RefusedError, match="klingon"):
            asyncio.run(spoken(Client(served.url, token="secret", settings={"language": "klingon"})))
        # Cantonese is a language of Whisper that only the newest models have.
        events = asyncio.run(spoken(Client(served.url, token="secret", settings={"language": "yue"})))
        assert isinstance(events[-1], Failed)
        assert text_of(asyncio.run(spoken(Client(served.url, token="secret")))) == SPEECH.text


def test_bad_audio_is_refused_where_it_comes_from(served: Served) -> None:
    async def send() -> None:
        async with Client(served.url) as client:
            await client.send(np.array([np.nan], np.float32))

    with pytest.raises(AudioFormatError):
        asyncio.run(send())


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with bound_socket("127.0.0.1", 0) as nobody:
        port = nobody.getsockname()[1]
    with pytest.raises(ConnectionLostError, match=str(port)):
        asyncio.run(spoken(Client(f"ws://127.0.0.1:{port}")))


def test_a_server_that_does_not_come_back_is_given_up() -> None:
    with serving(with_limits(drain_s=0)) as served:
        client = Client(served.url, recovery=replace(RECOVERY, patience_s=0.3))

        async def stop_at(n: int) -> None:
            if n == 100:
                await asyncio.to_thread(served.wait_for, lambda: client.session)
                served.stop()

        with pytest.raises((ConnectionLostError, RefusedError)):
            asyncio.run(spoken(client, stop_at))


def test_a_client_that_leaves_frees_its_place() -> None:
    async def leave(served: Served) -> None:
        async with Client(served.url) as client:
            await client.send(SPEECH.samples)
            async for event in client:
                if isinstance(event, Words):
                    return

    with serving() as served:
        asyncio.run(leave(served))
        served.wait_for(lambda: not served.count("sessions_open"))


# Cut connections


def test_a_first_connection_that_is_cut_before_a_word_is_tried_again(served: Served) -> None:
    with relay_to(served.port) as line:
        line.n_refused = 2
        assert text_of(asyncio.run(spoken(Client(f"ws://127.0.0.1:{line.port}")))) == SPEECH.text


@pytest.mark.parametrize("cuts", [{100}, {1}, {199}, {20, 60, 61, 120, 180}])
def test_a_cut_connection_loses_and_doubles_no_word(served: Served, cuts: set[int]) -> None:
    with relay_to(served.port) as line:
        client = Client(f"ws://127.0.0.1:{line.port}")

        async def cut(n: int) -> None:
            if n in cuts:
                await asyncio.to_thread(served.wait_for, lambda: client.session)
                line.pull()

        events = asyncio.run(spoken(client, cut))
    assert text_of(events) == SPEECH.text
    assert events[-1] == Ended(len(SPEECH.samples) / SAMPLE_RATE)
    assert all(event.is_resumed for event in events if isinstance(event, Reconnected))


def test_a_connection_that_stays_away_for_a_while_loses_and_doubles_no_word(served: Served) -> None:
    with relay_to(served.port) as line:
        client = Client(f"ws://127.0.0.1:{line.port}", recovery=replace(RECOVERY, delays_s=(0.05,)))

        async def cut(n: int) -> None:
            if n == 100:
                await asyncio.to_thread(served.wait_for, lambda: client.session)
                line.n_refused = 4
                line.pull()

        events = asyncio.run(spoken(client, cut))
    assert line.n_refused == 0
    assert text_of(events) == SPEECH.text
    assert [event.is_resumed for event in events if isinstance(event, Reconnected)] == [True]


@pytest.mark.waits
def test_a_cut_while_the_last_words_come_is_made_good(served: Served) -> None:
    async def listen(line: TcpRelay) -> list[ClientEvent]:
        events, cuts = list[ClientEvent](), {10, 20, 30}
        async with Client(f"ws://127.0.0.1:{line.port}") as client:
            await client.send(SPEECH.samples)
            client.end()
            async for event in client:
                events.append(event)
                # Once each: other events may come before the next word.
                if (n_words := len(words_of(events))) in cuts:
                    cuts.remove(n_words)
                    line.pull()
        return events

    with relay_to(served.port) as line:
        events = asyncio.run(listen(line))
    assert text_of(events) == SPEECH.text


def test_a_session_lost_by_staying_away_too_long_is_begun_anew() -> None:
    with serving(with_limits(resume_s=0.0)) as served, relay_to(served.port) as line:

        async def cut(n: int) -> None:
            if n == 150:
                await asyncio.to_thread(served.wait_for, lambda: served.count("words_total") >= 10)
                line.pull()

        events = asyncio.run(spoken(Client(f"ws://127.0.0.1:{line.port}"), cut))
    assert [event for event in events if isinstance(event, Reconnected)] == [Reconnected(False, 0.0)]
    assert text_of(events) == SPEECH.text
    assert events[-1] == Ended(len(SPEECH.samples) / SAMPLE_RATE)
    times = [word.start_s for word in words_of(events)]
    assert times == pytest.approx([start / SAMPLE_RATE for start in SPEECH.starts], abs=0.3)


# Translations


def translation(events: list[ClientEvent], target: str) -> str:
    return "".join(event.text for event in events if isinstance(event, Translation) and event.target == target)


@pytest.fixture(scope="module")
def translating() -> Iterator[Served]:
    with serving(with_limits(resume_s=30.0), translations=Translations(translator=Shouting())) as served:
        yield served


def test_translations_come_beside_the_words(translating: Served) -> None:
    events = asyncio.run(spoken(Client(translating.url, targets=["German", "es"])))
    assert text_of(events) == SPEECH.text
    assert translation(events, "de") == translation(events, "es") == SPEECH.text.upper()


def test_targets_are_chosen_while_it_speaks_also_over_connections_that_are_cut(translating: Served) -> None:
    chosen = [["es"], ["de"], list[str]()]

    async def listen(line: TcpRelay) -> list[ClientEvent]:
        events = list[ClientEvent]()
        async with Client(f"ws://127.0.0.1:{line.port}", targets=chosen[0]) as client:
            await client.send(SPEECH.samples)
            client.flush()
            n_chosen = 1
            async for event in client:
                events.append(event)
                if n_chosen < len(chosen) and translation(events, chosen[n_chosen - 1][0]) == SPEECH.text.upper():
                    # It may be lost with the connection, and is said again.
                    client.choose_targets(chosen[n_chosen])
                    line.pull()
                    n_chosen += 1
                    await client.send(SPEECH.samples)
                    client.flush()
                    if n_chosen == len(chosen):
                        client.end()
        return events

    with relay_to(translating.port) as line:
        events = asyncio.run(listen(line))
    assert all(event.is_resumed for event in events if isinstance(event, Reconnected))
    assert text_of(events) == SPEECH.text * 3
    assert translation(events, "es") == translation(events, "de") == SPEECH.text.upper()


def test_a_new_session_is_asked_for_the_targets_and_no_translation_is_told_twice() -> None:
    translations = Translations(translator=Shouting())
    with serving(with_limits(resume_s=0.0), translations=translations) as served, relay_to(served.port) as line:

        async def cut(n: int) -> None:
            if n == 150:
                await asyncio.to_thread(served.wait_for, lambda: served.count("words_total") >= 10)
                line.pull()

        events = asyncio.run(spoken(Client(f"ws://127.0.0.1:{line.port}", targets=["de"]), cut))
    assert [event.is_resumed for event in events if isinstance(event, Reconnected)] == [False]
    assert text_of(events) == SPEECH.text
    assert translation(events, "de") == SPEECH.text.upper()


def test_what_is_no_language_is_told_where_it_comes_from(translating: Served) -> None:
    with pytest.raises(ConfigError, match="klingon"):
        Client(translating.url, targets=["klingon"])
    with pytest.raises(ConfigError, match="klingon"):
        Client(translating.url).choose_targets(["klingon"])
    with pytest.raises(RefusedError, match="does not translate from English into French"):
        asyncio.run(spoken(Client(translating.url, targets=["fr"])))


# Killed servers

PROGRAM = """
import asyncio, socket, sys
from tests.streaming.serving import *
with serving(listening=socket.create_server(("127.0.0.1", int(sys.argv[1])))) as served:
    print(served.port, flush=True)
    sys.stdin.read()
"""


def started(port: int = 0) -> tuple["subprocess.Popen[str]", int]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, int(process.stdout.readline())


@pytest.mark.parametrize("n_words", [1, 17, 30])
def test_a_server_killed_in_mid_stream_and_started_again_loses_and_doubles_no_word(n_words: int) -> None:
    processes = list[Any]()
    first, port = started()
    processes.append(first)

    async def listen() -> list[ClientEvent]:
        events = list[ClientEvent]()
        async with Client(f"ws://127.0.0.1:{port}") as client:
            async for event in _spoken_until_killed(client):
                events.append(event)
                if len(words_of(events)) >= n_words and len(processes) == 1:
                    os.kill(first.pid, signal.SIGKILL)
                    first.wait()
                    second, _ = await asyncio.to_thread(started, port)
                    processes.append(second)
        return events

    try:
        events = asyncio.run(listen())
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    (back,) = [event for event in events if isinstance(event, Reconnected)]
    assert not back.is_resumed
    assert text_of(events) == SPEECH.text
    assert events[-1] == Ended(len(SPEECH.samples) / SAMPLE_RATE)


async def _spoken_until_killed(client: Client) -> AsyncIterator[ClientEvent]:
    await client.send(SPEECH.samples)
    client.end()
    async for event in client:
        yield event
