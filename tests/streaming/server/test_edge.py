"""What strangers send to the port of a real server: each gets its answer or its end in time, and health is answered."""

import json
import logging
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.protocols.native import Numbered, Refused
from streaming.server.access import Access, own_names
from streaming.server.run import bound_socket
from streaming.server.security_headers import SECURITY_HEADERS
from streaming.server.tls import Tls
from streaming.server.tokens import Tokens
from tests.streaming.serving import PATIENCE_S, Served, Talker, serving, with_limits
from tests.streaming.talk import END, HELLO, ask, get, told

WEB = Path(__file__).parents[3] / "streaming" / "web"
HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)
SOON = with_limits(head_s=0.3, hello_s=0.3)


def get_of(path: bytes, headers: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"


ANSWERS = {
    "a page": (get_of(b"/"), 200),
    "no page": (get_of(b"/nothing"), 404),
    "a page that is a socket": (get_of(b"/v1/stream"), 426),
    "a page that is a socket of a dialect": (get_of(b"/v1/listen?model=nova-3"), 426),
    "a file elsewhere": (get_of(b"/%2e%2e/%2e%2e/pyproject.toml"), 404),
    "no text": (get_of(b"/%00%ff%ed%a0%80"), 404),
    "a long address": (get_of(b"/" + b"a" * 9000), 414),
    "a long header": (get_of(b"/", b"X: " + b"a" * 9000 + b"\r\n"), 431),
    "long headers": (get_of(b"/", b"X: " + b"a" * 4000 + b"\r\n" + b"Y: " + b"a" * 100_000), 431),
    "many headers": (get_of(b"/", b"X: 1\r\n" * 129), 431),
    "a body": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", 413),
    "a body that does not come": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5000000\r\n\r\n", 413),
    "pieces of a body": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", 413),
    "a body of nothing": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n", 405),
    "no request": (os.urandom(20).replace(b"\n", b"") + b"\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01" * 99, 400),
    "no name": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "half a request": (b"GET / HTTP", 408),
    "a handshake with a long header": (HANDSHAKE + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "a handshake with many headers": (HANDSHAKE + b"X: 1\r\n" * 129 + b"\r\n", 431),
    "a handshake with a body": (HANDSHAKE + b"Content-Length: 5\r\n\r\nhello", 413),
    "a handshake without a key": (HANDSHAKE.replace(b"-Key", b"-Lock") + b"\r\n", 400),
    "a handshake elsewhere": (HANDSHAKE.replace(b"/v1/stream", b"/v1/other") + b"\r\n", 403),
    "half a handshake": (HANDSHAKE, 408),
}


@pytest.fixture(scope="module")
def edge() -> Iterator[Served]:
    """A server that does not wait long."""
    with serving(SOON) as served:
        yield served


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize("name", ANSWERS)
def test_each_gets_its_answer_with_what_browsers_must_know(
    edge: Served, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    request, status = ANSWERS[name]
    answer = ask(edge.port, request)
    head = answer.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    assert status_of(answer) == status
    assert {f"{name}: {value.lower()}" for name, value in SECURITY_HEADERS} <= set(head)
    assert not [line for line in head if line.startswith("server:")]
    assert not caplog.records


def test_a_handshake_is_answered_with_it_too(edge: Served) -> None:
    with Talker(edge) as talker:
        talker.say("nonsense")
        assert talker.socket.response
        headers = {name.lower(): value for name, value in talker.socket.response.headers.items()}
        assert dict(SECURITY_HEADERS).items() <= headers.items()
        talker.rest()


def test_silence_is_closed_without_a_word(edge: Served) -> None:
    assert ask(edge.port) == b""


def test_who_has_asked_may_ask_again_and_is_closed_when_silent(edge: Served) -> None:
    asked = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert ask(edge.port, asked * 3).count(b"200 OK") == 3
    assert ask(edge.port, asked + b"GET /hea").count(b"HTTP/1.1") == 1


def test_who_sends_no_more_still_reads_the_answer(edge: Served) -> None:
    with socket.create_connection(("127.0.0.1", edge.port)) as raw:
        raw.sendall(get_of(b"/health"))
        raw.shutdown(socket.SHUT_WR)
        assert status_of(raw.recv(65_536)) == 200


def test_who_never_reads_is_closed_in_time() -> None:
    listening = socket.socket()
    # Inherited by its connections: little fits between the two.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening.bind(("127.0.0.1", 0))
    with serving(with_limits(slow_reader_s=0.3), listening=listening) as served, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", served.port))
        assert _says_until_closed(deaf, b"GET /style.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")


def _says_until_closed(raw: socket.socket, data: bytes) -> bool:
    raw.settimeout(PATIENCE_S)
    with suppress(ConnectionError):
        while True:
            raw.sendall(data)
    return True


@contextmanager
def crowd(served: Served, n: int, said: bytes) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(n):
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            raw.sendall(said)
        yield


@pytest.mark.parametrize("said", [b"", b"GET /hea", HANDSHAKE + b"\r\n", get_of(b"/style.css")])
def test_a_crowd_that_waits_keeps_out_nobody(said: bytes) -> None:
    with serving(with_limits(max_waiting=8, max_connections=2)) as served, Talker(served) as talker:
        talker.say(HELLO)
        talker.ready()
        with crowd(served, 100, said):
            assert get(served, "/health")[0] == 200
            assert told(served, HELLO, END)[1] == 1000
        talker.say(END)
        talker.rest()
        assert talker.close_code == 1000


def test_who_waits_with_a_websocket_is_told_why_it_has_to_go() -> None:
    with serving(with_limits(max_waiting=8)) as served, Talker(served) as talker:
        served.wait_for(lambda: served.registry.n_connections == 1)
        with crowd(served, 30, b""):
            talker.rest()
        assert (talker.close_code, talker.socket.close_reason) == (1013, "too_many_connections")


def test_one_client_too_many_is_told_so() -> None:
    with serving(with_limits(max_connections=1)) as served, Talker(served) as first:
        first.say(HELLO)
        first.ready()
        messages, code = told(served, HELLO)
        assert ([each.reason.value for each in messages], code) == (["too_many_connections"], 1013)
        first.say(END)
        first.rest()
        assert told(served, HELLO, END)[1] == 1000


def test_who_says_nothing_too_often_gets_no_session_but_health() -> None:
    with serving(with_limits(connections_per_minute=3, head_s=0.1)) as served:
        for _ in range(9):
            assert get(served, "/health")[0] == 200
        for _ in range(3):
            assert ask(served.port) == b""
        assert told(served, HELLO)[1] == 1013
        assert get(served, "/health")[0] == 200


def test_health_and_metrics_have_a_port_of_their_own() -> None:
    with bound_socket("127.0.0.1", 0) as admin:
        port = admin.getsockname()[1]
        with serving(with_limits(max_waiting=8), admin=admin) as served, crowd(served, 50, b"GET /"):
            assert json.loads(ask(port, get_of(b"/health")).partition(b"\r\n\r\n")[2])["ready"]
            assert b"simul_whisper_turned_away_total" in ask(port, get_of(b"/metrics"))
            assert [status_of(ask(port, get_of(path))) for path in (b"/", b"/v1/model")] == [404, 404]
            assert status_of(ask(port, HANDSHAKE.replace(b": Upgrade", b": Upgrade, close") + b"\r\n")) == 404
            assert [get(served, path)[0] for path in ("/health", "/metrics")] == [200, 404]


# Bytes of a WebSocket


def frame(opcode: int, data: bytes, *, is_last: bool = True) -> bytes:
    assert len(data) < 126
    return bytes([opcode | (0x80 if is_last else 0), 0x80 | len(data)]) + bytes(4) + data


TEXT, CONTINUATION, CLOSE, PING = 1, 0, 8, 9


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, b"\xff") + frame(CLOSE, b""), 1007),
        (frame(TEXT, b"\xc3", is_last=False) + frame(CONTINUATION, b"("), 1007),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(CLOSE, b"\x00\x01"), 1002),
        (frame(TEXT, b"{") + frame(PING, b"") + frame(CLOSE, b"\x03\xe8"), 1000),
        (frame(TEXT, b"", is_last=False) + frame(CONTINUATION, b"", is_last=False) * 2000, 1002),
        (
            frame(TEXT, b"", is_last=False) + (frame(CONTINUATION, b"", is_last=False) * 99 + frame(PING, b"")) * 20,
            1002,
        ),
        (b"\x81\xff" + (1 << 20).to_bytes(8, "big") + bytes(4), 1009),
    ],
)
def test_bad_frames_get_their_code_and_no_line_in_the_log(
    edge: Served, sent: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Talker(edge) as talker:
        talker.socket.socket.sendall(sent)
        talker.rest()
        assert talker.close_code in (code, 1008)
    assert not caplog.records


def test_half_a_character_may_stand_at_the_end_of_a_piece(edge: Served) -> None:
    said = '{"type": "ä"}'.encode()
    cut = said.index(b"\xc3") + 1
    with Talker(edge) as talker:
        talker.socket.socket.sendall(frame(TEXT, said[:cut], is_last=False) + frame(CONTINUATION, said[cut:]))
        assert [each.reason.value for each in talker.rest() if isinstance(each, Refused)] == ["unknown_type"]


def test_a_hello_in_pieces_opens_the_door_to_long_messages(edge: Served) -> None:
    hello = HELLO.encode()
    pieces = [hello[start : start + 100] for start in range(0, len(hello), 100)]
    with Talker(edge) as talker:
        frames = [frame(CONTINUATION if n else TEXT, piece, is_last=False) for n, piece in enumerate(pieces)]
        talker.socket.socket.sendall(b"".join([*frames, frame(CONTINUATION, b"")]))
        talker.ready()
        talker.say(bytes(100_000), END)
        assert isinstance(talker.rest()[-1], Numbered)


def test_pings_whose_answers_nobody_reads_are_not_answered_for_ever(edge: Served) -> None:
    with Talker(edge) as talker:
        raw = talker.socket.socket
        raw.settimeout(PATIENCE_S)
        with suppress(OSError):
            for _ in range(400):
                raw.sendall(frame(PING, bytes(120)) * 500)
    assert get(edge, "/health")[0] == 200


# Names, tokens, pages


@pytest.mark.parametrize(
    ("bound", "host", "is_known"),
    [
        ("127.0.0.1", "localhost:8000", True),
        ("127.0.0.1", "LocalHost.", True),
        ("127.0.0.1", "[::1]:8000", True),
        ("127.0.0.1", "192.0.2.1", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "localhost@evil.example", False),
        ("127.0.0.1", "", False),
        ("talks.example", "talks.example:8000", True),
        ("0.0.0.0", socket.gethostname(), True),
        ("0.0.0.0", f"{socket.gethostname().partition('.')[0]}.local", True),
        ("0.0.0.0", "evil.example", False),
    ],
)
def test_a_server_answers_to_its_own_names(bound: str, host: str, is_known: bool) -> None:
    assert Access(hosts=own_names(bound)).knows_host({"host": host}) is is_known
    assert Access(hosts=("*",)).knows_host({"host": host})
    assert Access().knows_host({})


def test_a_name_of_somebody_elses_is_refused_everywhere_but_for_health(edge: Served) -> None:
    evil = {"Host": "evil.example"}
    statuses = [get(edge, path, evil)[0] for path in ("/", "/v1/model", "/metrics", "/style.css", "/health")]
    assert statuses == [421, 421, 421, 421, 200]
    assert "--allowed-host" in get(edge, "/", evil)[1]
    code = b'"code": "host"'
    assert code in ask(edge.port, HANDSHAKE.replace(b"127.0.0.1", b"evil.example") + b"\r\n", until=code)


def test_a_token_lets_in_by_its_name_and_the_name_is_counted() -> None:
    tokens = Tokens({"alice": "a" * 16, "bob": "b" * 16})
    with serving(access=Access(tokens)) as served:
        for token, code in (("b" * 16, 1000), ("c" * 16, 1008)):
            with Talker(served, additional_headers={"Authorization": f"Bearer {token}"}) as talker:
                talker.say(HELLO, END)
                talker.rest()
                assert talker.close_code == code
        page = get(served, "/metrics", {"Authorization": f"Bearer {'a' * 16}"})[1]
    assert 'simul_whisper_connections_total{token="bob"} 1.0' in page
    assert "bbbb" not in page


def test_the_page_says_what_the_server_says() -> None:
    found = re.search(r'content="(default-src[^"]*)"', (WEB / "index.html").read_text("utf-8"))
    assert found
    assert dict(SECURITY_HEADERS)["content-security-policy"] == f"{found[1]}; frame-ancestors 'none'"


# Encrypted


def test_a_handshake_that_does_not_come_is_counted_and_closed(certificate: tuple[str, str]) -> None:
    with serving(with_limits(head_s=0.5, max_waiting=8), tls=Tls(*certificate)) as served:
        assert [ask(served.port, said) for said in (b"", b"\x16\x03\x01")] == [b"", b""]
        trusting = ssl.create_default_context(cafile=certificate[0])
        with (
            crowd(served, 50, b""),
            socket.create_connection(("127.0.0.1", served.port)) as raw,
            trusting.wrap_socket(raw, server_hostname="127.0.0.1") as encrypted,
        ):
            encrypted.sendall(get_of(b"/health"))
            assert status_of(encrypted.recv(65_536)) == 200


# Anything at all

STARTS = st.sampled_from([b"", b"GET / HTTP/1.1\r\n", HANDSHAKE, HANDSHAKE + b"\r\n", get_of(b"/metrics")])
BYTES = st.lists(st.binary(max_size=200) | STARTS, max_size=4)


class _Records(logging.Handler):
    """What is logged while one example runs; caplog is for whole tests."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    handler = _Records()
    logging.getLogger().addHandler(handler)
    try:
        yield handler.all
    finally:
        logging.getLogger().removeHandler(handler)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(start=STARTS, pieces=BYTES)
def test_any_bytes_leave_the_server_well_and_its_log_empty(edge: Served, start: bytes, pieces: list[bytes]) -> None:
    with logged() as records:
        # Also that it is not connected any more.
        with suppress(OSError), socket.create_connection(("127.0.0.1", edge.port)) as raw:
            for piece in (start, *pieces):
                raw.sendall(piece)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65_536):
                pass
        assert get(edge, "/health")[0] == 200
    assert not records
