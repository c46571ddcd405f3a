"""The server behind a real nginx: under a prefix that it takes away or not, and who is believed about addresses."""

import asyncio
import http.client
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection, connect

from simul_whisper import ConfigError
from streaming.cli import main, parser_of
from streaming.cli.proxy import proxy_from
from streaming.client.address import websocket_url
from streaming.protocols.native import PATH, Ready, Refused, client_text, parse_server
from streaming.server.access import Access
from streaming.server.proxy import LOOPBACK, Prefixed, Proxy
from streaming.sessions.request import SessionRequest
from tests.foreign_servers import free_port, nginx
from tests.streaming.server.uploading import BOUNDARY, SPEECH, WAV, form_of
from tests.streaming.server.uploading import PATH as UPLOADS
from tests.streaming.serving import Served, exchanged, serving, with_limits

PREFIX = "/captions"
STRIPS, KEEPS = "strips", "keeps"
OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(proxy=Proxy(PREFIX), access=Access()) as served:
        yield served


@contextmanager
def proxied(served: Served, kind: str, folder: Path) -> Iterator[int]:
    """An nginx that takes the prefix away, or does not."""
    behind = f"http://127.0.0.1:{served.port}{'/' if kind == STRIPS else ''}"
    place = PREFIX + ("/" if kind == STRIPS else "")
    with passing(f"location {place} {{ proxy_pass {behind}; }}", folder) as port:
        yield port


@contextmanager
def passing(location: str, folder: Path) -> Iterator[int]:
    """An nginx with this location, which tells on whose behalf it asks."""
    port = free_port()
    http = f"""
        access_log off;
        client_max_body_size 26m;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
        server {{ listen 0.0.0.0:{port}; {location} }}
    """
    with nginx(http, port, folder):
        yield port


@pytest.fixture(scope="module", params=[STRIPS, KEEPS])
def port(request: pytest.FixtureRequest, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with proxied(served, request.param, tmp_path_factory.mktemp("nginx")) as port:
        yield port


def got(port: int, path: str, method: str = "GET", **options: object) -> tuple[int, dict[str, str], bytes]:
    return exchanged(http.client.HTTPConnection("127.0.0.1", port, timeout=60), method, path, **options)


def test_pages_and_rest_are_below_the_prefix(port: int) -> None:
    assert b"<html" in got(port, f"{PREFIX}/")[2]
    for name in ("app.js", "style.css", "recovery.json"):
        assert got(port, f"{PREFIX}/{name}")[0] == 200
    assert json.loads(got(port, f"{PREFIX}/health")[2])["ready"]
    assert json.loads(got(port, f"{PREFIX}/v1/model?token=x")[2])["languages"]
    assert got(port, f"{PREFIX}/v1/stream")[0] == 426
    assert got(port, f"{PREFIX}/v1/nothing")[0] == 404
    assert got(port, "/health")[0] == 404


def test_the_prefix_alone_leads_to_the_page(port: int) -> None:
    status, headers, _ = got(port, f"{PREFIX}?token=a%26b")
    assert status in (301, 308)
    assert headers["location"].endswith(f"{PREFIX}/?token=a%26b")


def test_recordings_are_uploaded_below_the_prefix(port: int) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    path = f"{PREFIX}{UPLOADS}"
    status, _, body = got(port, path, "POST", body=form_of(WAV), headers=kind)
    assert (status, json.loads(body)["text"].split()) == (200, SPEECH.text.split())
    assert got(port, f"{PREFIX}/v1/elsewhere", "POST", body=b"x")[0] == 413


@pytest.mark.parametrize("path", [PATH, "/v1/listen?encoding=linear16&sample_rate=16000", "/v1/realtime", "/asr"])
def test_sockets_are_below_the_prefix(port: int, path: str) -> None:
    with connect(f"ws://127.0.0.1:{port}{PREFIX}{path}", proxy=None) as socket:
        if path == PATH:
            socket.send(client_text(SessionRequest()))
            assert isinstance(parse_server(socket.recv(60)), Ready)


def test_a_browser_finds_everything_below_the_prefix(served: Served, tmp_path: Path) -> None:
    from tests.streaming.web.browser import browser

    with browser() as started, proxied(served, KEEPS, tmp_path) as port:
        page = started.new_page()
        failed = list[str]()
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}{PREFIX}")
        page.locator("[name=language] option[value=en]").wait_for(state="attached")
        page.get_by_text("File", exact=True).first.click()
        page.set_input_files("[name=file]", {"name": "a.wav", "mimeType": "audio/wav", "buffer": WAV})
        page.click("#start")
        page.locator(".committed", has_text=SPEECH.text.split()[0]).first.wait_for()
        assert failed == []


def test_who_comes_directly_finds_it_with_and_without_the_prefix(served: Served) -> None:
    for prefix in ("", PREFIX):
        assert got(served.port, f"{prefix}/health")[0] == 200
        with connect(f"ws://127.0.0.1:{served.port}{prefix}{PATH}", proxy=None):
            pass
    assert got(served.port, f"{PREFIX}{PREFIX}/health")[0] == 404


def opened(stack: ExitStack, port: int, forwarded: str = "", source: str = "127.0.0.1") -> bool:
    """Whether a client that says where it comes from gets a session."""
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    url = f"ws://127.0.0.1:{port}{PATH}"
    socket: ClientConnection = stack.enter_context(
        connect(url, additional_headers=headers, proxy=None, source_address=(source, 0))
    )
    socket.send(client_text(SessionRequest()))
    said = parse_server(socket.recv(60))
    assert isinstance(said, Ready | Refused)
    return isinstance(said, Ready)


ONE_EACH = with_limits(sessions_per_address=1)


def test_each_client_of_a_trusted_proxy_has_an_address_of_its_own() -> None:
    with serving(ONE_EACH) as served, ExitStack() as stack:
        told = [opened(stack, served.port, each) for each in ("10.0.0.1", "10.0.0.2", "10.0.0.1")]
    assert told == [True, True, False]


def test_without_trust_all_come_from_where_they_come_from() -> None:
    with serving(ONE_EACH, proxy=Proxy(trusted=())) as served, ExitStack() as stack:
        assert [opened(stack, served.port, each) for each in ("10.0.0.1", "10.0.0.2")] == [True, False]


@pytest.mark.skipif(sys.platform != "linux", reason="needs several addresses on loopback")
def test_what_a_stranger_says_of_itself_is_not_believed(tmp_path: Path) -> None:
    """Neither directly, nor through a proxy that passes it on and adds where the stranger really is."""
    with serving(ONE_EACH, proxy=Proxy(trusted=("127.0.0.1",))) as served, ExitStack() as stack:
        direct = [opened(stack, served.port, each, OTHER) for each in ("10.0.0.1", "10.0.0.2")]
        assert direct == [True, False]
    with (
        serving(ONE_EACH, proxy=Proxy(trusted=("127.0.0.1",))) as served,
        passing(f"location / {{ proxy_pass http://127.0.0.1:{served.port}; }}", tmp_path) as port,
        ExitStack() as stack,
    ):
        told = [opened(stack, port, forged, OTHER) for forged in ("10.0.0.1", "10.0.0.2")]
        assert told == [True, False]
        assert opened(stack, port, source="127.0.0.3")


def proxy_of(*flags: str) -> Proxy:
    return proxy_from(parser_of(["serve"]).parse_args(["serve", *flags]))


def test_flags_and_the_usual_variable_say_what_stands_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_of() == Proxy("", LOOPBACK)
    assert proxy_of("--root-path", "/a/b-c/", "--forwarded-allow-ips", "10.0.0.2, fd00::/8") == Proxy(
        "/a/b-c", ("10.0.0.2", "fd00::/8")
    )
    assert proxy_of("--forwarded-allow-ips", "none").trusted == ()
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.9,10.0.0.8")
    assert proxy_of().trusted == ("10.0.0.9", "10.0.0.8")
    assert proxy_of("--forwarded-allow-ips", "*").trusted == ("*",)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "none")
    assert proxy_of().trusted == ()
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.9,proxy")
    with pytest.raises(ConfigError, match=r"^FORWARDED_ALLOW_IPS: got 'proxy', expected "):
        proxy_of()


@pytest.mark.parametrize(
    "flags",
    [
        ("--root-path", "captions"),
        ("--root-path", "/a//b"),
        ("--root-path", "/../a"),
        ("--root-path", "/a b"),
        ("--forwarded-allow-ips", "proxy"),
        ("--forwarded-allow-ips", "10.0.0.1/8"),
        ("--forwarded-allow-ips", "*,10.0.0.1"),
    ],
)
def test_what_is_no_prefix_or_address_is_refused(flags: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", *flags])
    err = capsys.readouterr().err
    assert flags[0] in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("prefix", ["/v1", "/health", "/v1/audio"])
def test_a_prefix_that_is_an_address_of_the_server_is_refused(prefix: str) -> None:
    paths = ["/v1/stream", "/v1/audio/speech", "/health"]
    with pytest.raises(ConfigError, match=f"got root_path {prefix}, but /"):
        Proxy(prefix).check_prefix(paths)
    Proxy("/v").check_prefix(paths)


@given(path=st.text("ac/%.", max_size=12))
def test_only_the_whole_prefix_is_taken_away(path: str) -> None:
    """And once, wherever it stands."""
    told = list[str]()

    async def app(scope: dict[str, str], *_: object) -> None:
        told.append(scope["path"])

    async def send(_: object) -> None: ...

    scope = {"type": "websocket", "path": f"/a{path}", "raw_path": f"/a{path}".encode(), "query_string": b""}
    asyncio.run(Prefixed(app, "/a")(scope, None, send))  # type: ignore[arg-type]
    assert told == [path if path.startswith("/") else f"/a{path}"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/captions/", "wss://a.example/captions/v1/stream"),
        ("ws://a.example:1/captions/v1/stream", "ws://a.example:1/captions/v1/stream"),
        ("http://a.example", "ws://a.example/v1/stream"),
        ("http://a.example/?token=x", "ws://a.example/v1/stream?token=x"),
    ],
)
def test_a_client_takes_the_address_of_the_page(url: str, expected: str) -> None:
    assert websocket_url(url) == expected
