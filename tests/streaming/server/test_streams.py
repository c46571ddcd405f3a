"""Connections over which bytes come, and those who do not behave: many, silent, deaf, half open, or gone."""

import asyncio
import logging
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from simul_whisper import AlignAttConfig, ConfigError
from streaming.server.dialects import Dialects
from streaming.server.doorway import Doorway
from streaming.server.limits import Limits
from streaming.server.registry import SessionRegistry
from streaming.server.run import bound_unix_socket
from streaming.server.wire import Gone, SlowReaderError, StreamWire
from streaming.sessions.worker import Worker
from streaming.settings import ClientLimits, WorkerConfig
from tests.dialects.lines import JsonLinesSpeaker, LinesSpeaker
from tests.dialects.wyoming import S16_MONO, WyomingSpeaker, event
from tests.streaming.serving import MANY, OFF, PATIENCE_S, Served, s16, serving, with_limits
from tests.tones import speech_of, tone_model

SPEECH = speech_of(range(8))
SPEAKERS = (LinesSpeaker(), JsonLinesSpeaker(), WyomingSpeaker())
STREAMS = Dialects(tuple(speaker.name for speaker in SPEAKERS))


@pytest.fixture
def no_bugs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def connected(served: Served, name: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.dialect_ports[name]), PATIENCE_S)


def all_of(connection: socket.socket) -> bytes:
    with suppress(ConnectionResetError), connection.makefile("rb") as said:
        return said.read()
    return b""


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
def test_those_who_say_nothing_keep_out_nobody(speaker: LinesSpeaker, no_bugs: pytest.LogCaptureFixture) -> None:
    with (
        serving(with_limits(max_waiting=8, connections_per_address=6), dialects=STREAMS) as served,
        ExitStack() as crowd,
    ):
        silent = [crowd.enter_context(connected(served, speaker.name)) for _ in range(60)]
        assert speaker.transcript(served, s16(SPEECH.samples)) == SPEECH.text
        served.wait_for(lambda: served.registry.n_connections <= 6)
        for connection in silent[:40]:
            assert all_of(connection) == b""
    assert not no_bugs.records


def test_who_comes_too_often_is_told_so() -> None:
    limits = with_limits(connections_per_minute=1)
    with serving(limits, dialects=STREAMS) as served, connected(served, "lines"), connected(served, "lines") as second:
        assert all_of(second).startswith(b"error: more than 1 connections a minute")


def test_who_does_not_read_is_left() -> None:
    with serving(with_limits(slow_reader_s=0.1), dialects=STREAMS) as served, connected(served, "wyoming") as deaf:
        with suppress(OSError):
            while True:
                deaf.sendall(event("describe") * 1_000)
        served.wait_for(lambda: served.registry.n_connections == 0)
        assert served.registry.errors == {"slow_reader": 1}
        assert WyomingSpeaker().transcript(served, s16(SPEECH.samples)) == SPEECH.text


@pytest.mark.parametrize(("most", "own", "served"), [(2, 0, 2), (700, 0, 700), (2, 4, 4)])
def test_a_client_may_have_as_many_terms_as_the_server_allows_or_has(most: int, own: int, served: int) -> None:
    config = AlignAttConfig(terms=[f"name {n}" for n in range(own)])
    registry = SessionRegistry(Worker(tone_model, config, WorkerConfig()), config, OFF, MANY, ClientLimits(terms=most))
    assert Dialects().served(registry).most_terms == served


def test_what_nobody_takes_keeps_no_connection() -> None:
    """It is less than makes a writer wait, and would be kept until the other side reads."""

    async def closed() -> None:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            wire = StreamWire(reader, writer, Doorway(Limits()).enter("", writer.transport.abort), patience_s=0.05)
            await wire.send(b"x" * 16_000)
            with pytest.raises(SlowReaderError):
                await wire.close(1000, "")
            wire.give_up(1000, "")
            with pytest.raises(Gone):
                await wire.receive(None)

    asyncio.run(closed())


def test_who_vanishes_leaves_nothing_behind(no_bugs: pytest.LogCaptureFixture) -> None:
    with serving(dialects=STREAMS) as served:
        for speaker in SPEAKERS:
            for said in (b"\1\0", s16(SPEECH.samples)):
                call = speaker.call(served)
                call.send(said)
                call.vanish()
        served.wait_for(lambda: served.registry.n_connections == 0)
        served.wait_for(lambda: served.count("sessions_open") == 0)
        assert not served.registry.errors
    assert not no_bugs.records


def test_a_session_that_the_server_ends_is_no_bug(no_bugs: pytest.LogCaptureFixture) -> None:
    with serving(with_limits(idle_s=0.1), dialects=STREAMS) as served:
        for name, said in (("lines", b"\0\0"), ("wyoming", event("audio-chunk", S16_MONO, b"\0\0"))):
            with connected(served, name) as connection:
                connection.sendall(said)
                assert b"nothing came for 0.1 s" in all_of(connection)
        assert served.registry.errors == {"idle": 2}
    assert not no_bugs.records


def test_a_program_of_this_machine_may_be_silent_between_sessions(tmp_path: Path) -> None:
    listening = bound_unix_socket(str(tmp_path / "socket"))
    limits = with_limits(idle_s=0.1, hello_s=0.1)
    serve, local = (
        serving(limits, dialects=STREAMS, dialect_ports={"wyoming": listening}),
        socket.socket(socket.AF_UNIX),
    )
    with serve as served, local:
        local.settimeout(PATIENCE_S)
        local.connect(str(tmp_path / "socket"))
        for _ in range(2):
            # Others are sent away meanwhile.
            with connected(served, "lines") as other:
                assert b"nothing came for 0.1 s" in all_of(other)
            local.sendall(event("audio-stop"))
            with local.makefile("rb") as said:
                assert any(b"transcript-stop" in line for line in said)


def test_a_server_that_stops_leaves_nobody_waiting(no_bugs: pytest.LogCaptureFixture) -> None:
    with ExitStack() as clients:
        with serving(dialects=STREAMS) as served:
            silent, speaking, half = (clients.enter_context(connected(served, "lines")) for _ in range(3))
            asking, deaf = (clients.enter_context(connected(served, "wyoming")) for _ in range(2))
            speaking.sendall(s16(SPEECH.samples))
            half.sendall(b"\0")
            half.shutdown(socket.SHUT_WR)
            asking.sendall(event("ping", {"text": "there?"}))
            assert asking.recv(1)
            deaf.sendall(event("describe") * 10_000)
            served.wait_for(lambda: served.registry.n_connections >= 4 and served.count("sessions_open") == 1)
        assert all_of(silent) == all_of(half) == b""
        assert all_of(speaking).endswith(b"error: the server is being stopped\n")
        assert all_of(asking).endswith(b'there?"}')
    assert not no_bugs.records


def test_a_path_is_taken_from_the_dead_only(tmp_path: Path) -> None:
    path, file = tmp_path / "socket", tmp_path / "file"
    bound_unix_socket(str(path)).close()
    with bound_unix_socket(str(path)), pytest.raises(ConfigError, match=r"cannot listen on unix://.*in use"):
        bound_unix_socket(str(path))
    file.write_text("kept")
    with pytest.raises(ConfigError):
        bound_unix_socket(str(file))
    assert file.read_text() == "kept"
    with pytest.raises(ConfigError):
        bound_unix_socket(f"/tmp/{'long' * 100}")
