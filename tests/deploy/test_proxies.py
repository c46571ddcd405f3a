"""The server behind nginx and Caddy as deploy/ has them: page, client, upload, and what is passed on."""

import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from streaming.server.access import Access
from streaming.server.proxy import Proxy
from streaming.server.tokens import one_token
from tests.deploy.proxies import Front, caddy, caddy_finds_no_fault, nginx
from tests.foreign_servers import free_port
from tests.streaming.server.uploading import wav_of
from tests.streaming.serving import exchanged, serving
from tests.tones import speech_of

TOKEN = "a-token-of-the-test"
PROXIES = ("nginx", "caddy")
SPEECH = speech_of([0, 3, 5, 7])


@contextmanager
def front_of(name: str, behind: int, certificate: tuple[str, str], folder: Path) -> Iterator[Front]:
    with nginx(behind, certificate, folder) if name == "nginx" else caddy(behind, folder) as front:
        yield front


@pytest.fixture(params=PROXIES)
def front(request: pytest.FixtureRequest, certificate: tuple[str, str], tmp_path: Path) -> Iterator[Front]:
    with ExitStack() as stack:
        access = Access(one_token(TOKEN, "test"))
        served = stack.enter_context(serving(proxy=Proxy("/captions"), access=access))
        yield stack.enter_context(front_of(request.param, served.port, certificate, tmp_path))


def asked(front: Front, path: str, method: str = "GET", **options: object) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body."""
    if front.scheme == "https":
        # What certificates are worth is no question of this test.
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection("127.0.0.1", front.port, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", front.port)
    return exchanged(connection, method, path, **options)


def test_everything_is_there_below_the_prefix(front: Front, certificate: tuple[str, str], tmp_path: Path) -> None:
    """One test, since starting a proxy and a server takes longer than it all."""
    status, headers, _ = asked(front, "/captions?room=1")
    assert status in (301, 308)
    assert headers["location"].endswith("/captions/?room=1")
    for name in ("", "app.js", "style.css", "health"):
        assert asked(front, f"/captions/{name}")[0] == 200
    assert asked(front, "/captions/v1/model")[0] == 401

    recording = tmp_path / "talk.wav"
    recording.write_bytes(wav_of(SPEECH))
    command = [sys.executable, "-m", "streaming.cli", "connect", f"{front.url}/", f"{recording}"]
    told = {"SIMUL_WHISPER_TOKEN": TOKEN, "SSL_CERT_FILE": certificate[0]}
    said = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == SPEECH.text.split()

    assert json.loads(uploaded(front, recording.read_bytes()))["text"].split() == SPEECH.text.split()
    if front.log:
        # The client above sends it as a header; whoever opens the page has it in the address.
        asked(front, f"/captions/?token={TOKEN}")
        assert "/captions/v1/stream" in front.log.read_text("utf-8")
        assert TOKEN not in front.log.read_text("utf-8")


def uploaded(front: Front, recording: bytes) -> bytes:
    parts = [
        b'--cut\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n',
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\n\r\n',
        recording,
        b"\r\n--cut--\r\n",
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=cut", "Authorization": f"Bearer {TOKEN}"}
    status, _, body = asked(front, "/captions/v1/audio/transcriptions", "POST", body=b"".join(parts), headers=headers)
    assert status == 200, body
    return body


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        told = json.dumps({"path": self.path, "length": length, **dict(self.headers.items())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", f"{len(told)}")
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("name", PROXIES)
def test_the_server_is_told_who_calls_and_by_which_name(
    name: str, certificate: tuple[str, str], tmp_path: Path
) -> None:
    with HTTPServer(("127.0.0.1", 0), Echo) as behind:
        threading.Thread(target=behind.serve_forever, daemon=True).start()
        with front_of(name, behind.server_port, certificate, tmp_path) as front:
            # Who says that he is somebody else is not believed; and as much may be uploaded as the server takes.
            status, _, body = asked(
                front, "/captions/x", "POST", headers={"X-Forwarded-For": "203.0.113.9"}, body=bytes(25 << 20)
            )
        behind.shutdown()
    told = json.loads(body)
    assert status == 200
    assert (told["path"], told["length"]) == ("/captions/x", 25 << 20)
    assert told["Host"] == f"127.0.0.1:{front.port}"
    assert told["X-Forwarded-For"] == "127.0.0.1"
    assert told["X-Forwarded-Proto"] == front.scheme


@pytest.mark.parametrize("name", PROXIES)
def test_no_token_is_written_down_when_the_server_is_away(
    name: str, certificate: tuple[str, str], tmp_path: Path
) -> None:
    with front_of(name, free_port(), certificate, tmp_path) as front:
        headers = {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{TOKEN}"}
        assert asked(front, f"/captions/?token={TOKEN}", headers=headers)[0] == 502
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"/captions/" in written
    assert TOKEN.encode() not in written


def test_caddy_finds_no_fault(tmp_path: Path) -> None:
    caddy_finds_no_fault(tmp_path)
