"""A connection that speaks a dialect, from its first byte to its end, with the plainest of them."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from streaming.events import Failed, Reason
from streaming.protocols.dialect import Flush, Handshake
from streaming.protocols.lines import Lines
from streaming.protocols.openai_translations import OpenAITranslations
from streaming.server.conversation import Conversation
from streaming.server.dialects import Dialects
from streaming.server.registry import SessionRegistry
from streaming.sessions.request import Refusal
from tests.dialects.openai_realtime import append
from tests.dialects.openai_translations import update
from tests.streaming.serving import CONFIG, MANY, OFF, PATIENCE_S, Served, s16, serving, with_limits
from tests.tones import speech_of

SPEECH = speech_of(range(8))


def lines_of(served: Served, data: bytes, *, step: int = 3_001) -> list[str]:
    """Send bytes, close one half, and return the lines that come."""
    with socket.create_connection(("127.0.0.1", served.dialect_ports["lines"]), PATIENCE_S) as connection:
        for start in range(0, len(data), step):
            connection.sendall(data[start : start + step])
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile(encoding="utf-8") as said:
            return said.read().splitlines()


def text_of(lines: list[str]) -> str:
    return "".join(line.split(" ", 2)[2] for line in lines)


def test_what_was_sent_is_told_to_its_end_once_the_client_says_no_more() -> None:
    with serving(dialects=Dialects(("lines",))) as served:
        assert text_of(lines_of(served, s16(SPEECH.samples))) == SPEECH.text
        assert lines_of(served, b"") == []
        served.wait_for(lambda: served.registry.n_connections == 0)
        assert text_of(lines_of(served, s16(SPEECH.samples), step=1_000_000)) == SPEECH.text


@pytest.mark.parametrize("limits", [with_limits(sessions_per_address=1), with_limits(max_connections=1)])
def test_who_comes_too_late_is_told_why(limits: object) -> None:
    with serving(limits, dialects=Dialects(("lines",))) as served:  # type: ignore[arg-type]
        address = ("127.0.0.1", served.dialect_ports["lines"])
        with socket.create_connection(address, PATIENCE_S) as first:
            first.sendall(b"\0\0")
            served.wait_for(lambda: served.count("sessions_open") == 1)
            (line,) = lines_of(served, s16(SPEECH.samples))
            assert line.startswith("error: ")


def test_silence_is_ended_with_a_reason() -> None:
    with serving(with_limits(idle_s=0.2, hello_s=0.2), dialects=Dialects(("lines",))) as served:
        address = ("127.0.0.1", served.dialect_ports["lines"])
        for said in (b"", b"\0\0"):
            with socket.create_connection(address, PATIENCE_S) as connection:
                connection.sendall(said)
                with connection.makefile(encoding="utf-8") as answer:
                    assert answer.read() == "error: nothing came for 0.2 s, neither audio nor a message\n"


class SlowToClose:
    """A wire that is being closed until it may be closed."""

    def __init__(self, caller: Any = None) -> None:
        self.caller = caller
        self.said, self.told = asyncio.Queue[str | bytes](), list[str | bytes]()
        self.is_closing, self.may_close = asyncio.Event(), asyncio.Event()

    async def receive(self, timeout_s: float | None) -> str | bytes | None:  # noqa: ARG002
        return await self.said.get()

    async def send(self, message: str | bytes) -> None:
        self.told.append(message)

    async def close(self, code: int, reason: str) -> None:
        self.told.append(f"{code} {reason}")
        self.is_closing.set()
        await self.may_close.wait()

    def give_up(self, code: int, reason: str) -> None:
        raise NotImplementedError


def test_nothing_is_told_once_the_connection_is_being_closed() -> None:
    async def refuse_twice(registry: SessionRegistry) -> list[str | bytes]:
        wire = SlowToClose()
        there = Dialects().served(registry)
        conversation = Conversation(wire, Lines(Handshake("somebody", 0.0), there), registry, 1.0)
        first = asyncio.create_task(conversation.refuse(Refusal(Reason.IDLE, "too quiet")))
        await wire.is_closing.wait()
        second = asyncio.create_task(conversation.refuse(Refusal(Reason.CONFIG, "too late")))
        wire.may_close.set()
        await asyncio.gather(first, second)
        return wire.told

    with serving() as served:
        assert asyncio.run(refuse_twice(served.registry)) == ["error: too quiet\n", "1000 "]


def own_registry(served: Served) -> SessionRegistry:
    """One that belongs to the event loop of the test."""
    return SessionRegistry(served.registry.pool, CONFIG, OFF, MANY)


def test_what_a_client_says_while_its_failed_session_is_closed_is_passed_over() -> None:
    async def reasons(registry: SessionRegistry) -> dict[str, int]:
        wire = SlowToClose(SimpleNamespace(take_place=lambda: True, network="here", is_gone=False))
        spoken = OpenAITranslations(Handshake("somebody", 0.0), Dialects().served(registry))
        conversation = Conversation(wire, spoken, registry, PATIENCE_S)
        running = asyncio.create_task(conversation.run())
        for said in (update("en"), append(bytes(480), "session.input_audio_buffer.append")):
            wire.said.put_nowait(said)
        while not conversation._session:
            await asyncio.sleep(0)
        conversation._session.hosted.log.append([Failed(Reason.ENGINE, "out of order")])
        await wire.is_closing.wait()
        wire.said.put_nowait(update(None))
        # It is heard, and what comes of that is known.
        for _ in range(20):
            await asyncio.sleep(0)
        wire.may_close.set()
        await running
        return dict(registry.errors)

    with serving() as served:
        assert asyncio.run(reasons(own_registry(served))) == {Reason.ENGINE.value: 1}


def test_who_is_gone_before_its_session_is_opened_does_not_count_as_one_too_many() -> None:
    async def reasons(registry: SessionRegistry) -> dict[str, int]:
        wire = SlowToClose(SimpleNamespace(take_place=lambda: False, is_gone=True))
        wire.may_close.set()
        wire.said.put_nowait(b"\0\0")
        dialect = Lines(Handshake("somebody", 0.0), Dialects().served(registry))
        await Conversation(wire, dialect, registry, PATIENCE_S).run()
        assert not wire.told
        return dict(registry.errors)

    with serving() as served:
        assert asyncio.run(reasons(own_registry(served))) == {}


def test_a_dialect_is_asked_what_to_do_with_a_quiet_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lines, "quiet_s", 0.05)
    monkeypatch.setattr(Lines, "hear_quiet", lambda dialect: [Flush()] if dialect._is_open else [])
    with serving(dialects=Dialects(("lines",))) as served:
        address = ("127.0.0.1", served.dialect_ports["lines"])
        with socket.create_connection(address, PATIENCE_S) as connection, connection.makefile() as lines:
            told = ""
            for n in (1, 2):
                connection.sendall(s16(SPEECH.samples))
                while told != SPEECH.text * n:
                    told += text_of([lines.readline().rstrip("\n")])
                    assert (SPEECH.text * n).startswith(told)
