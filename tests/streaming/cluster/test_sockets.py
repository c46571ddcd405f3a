"""Who is let in to a replica, over real sockets."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest

from streaming.cluster.line import LineLostError
from streaming.cluster.sockets import Doorway, Whereabouts, connected


def echo(connection: "Connection[Any, Any]") -> None:
    with connection:
        while (said := connection.recv()) is not None:
            connection.send(said)


@contextmanager
def listening() -> Iterator[Whereabouts]:
    doorway = Doorway("one", "127.0.0.1", echo)
    try:
        yield doorway.whereabouts
    finally:
        doorway.close()


def test_what_is_said_comes_back_however_long_it_is() -> None:
    with listening() as where, connected(where) as connection, connected(where) as other:
        for said in ("short", np.ones(100_000, np.float32)):
            connection.send(said)
            other.send("beside it")
            assert np.array_equal(connection.recv(), said)
            assert other.recv() == "beside it"
        for each in (connection, other):
            each.send(None)


def test_without_the_key_nothing_is_read(caplog: pytest.LogCaptureFixture) -> None:
    with listening() as where:
        with pytest.raises(LineLostError, match=f"one at 127.0.0.1:{where.port} cannot be reached"):
            connected(replace(where, key=b"another"))
        with connected(where) as connection:
            connection.send(None)
    assert "somebody was not let in" in caplog.text


def test_who_has_closed_cannot_be_reached_and_who_is_in_stays() -> None:
    with listening() as where:
        connection = connected(where)
    with connection:
        connection.send("still here")
        assert connection.recv() == "still here"
        connection.send(None)
    with pytest.raises(LineLostError, match="cannot be reached"):
        connected(where)


def test_the_key_is_not_shown() -> None:
    with listening() as where:
        assert "key" not in repr(where)


def test_neither_waits_for_ever_for_one_who_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streaming.cluster.sockets._CONNECT_S", 0.05)
    with listening() as where, socket.create_connection((where.host, where.port)) as silent:
        while silent.recv(4_096):
            pass
    assert "somebody was not let in" in caplog.text
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        where = replace(where, port=deaf.getsockname()[1])
        with pytest.raises(LineLostError, match=r"has said nothing for 0\.05 s"):
            connected(where)
