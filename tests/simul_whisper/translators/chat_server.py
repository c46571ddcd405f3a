"""A real HTTP server on loopback that answers, or misbehaves, as a test tells it to."""

import itertools
import json
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

_HEAD = "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"


@dataclass(frozen=True)
class Asked:
    """A request. connection: which one of the server's it came over, from 0. headers: by names in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def question(self) -> Any:
        return json.loads(self.body)


# Writes an answer; `over` is set when the test is over.
Reply = Callable[[Asked, BinaryIO, threading.Event], None]


@dataclass
class ChatServer:
    """asked: all requests so far. gone: set when a client has gone while it was answered."""

    reply: Reply
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    _connections: Iterator[int] = field(default_factory=itertools.count)

    def serve(self, reader: BinaryIO, writer: BinaryIO) -> None:
        """One connection: requests, until one is not whole."""
        connection = next(self._connections)
        try:
            while (asked := _read(reader, connection)) is not None:
                self.asked.append(asked)
                self.reply(asked, writer, self.over)
                writer.flush()
        except ConnectionError:
            self.gone.set()


def _read(reader: BinaryIO, connection: int) -> Asked | None:
    first = reader.readline().decode().split(" ")
    if len(first) != 3:
        return None
    headers = dict[str, str]()
    while line := reader.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Asked(first[0], first[1], headers, reader.read(int(headers.get("content-length", 0))), connection)


@contextmanager
def serving(reply: Reply, certificate: tuple[str, str] | None = None) -> Iterator[ChatServer]:
    """Serve until the end of the block; over TLS with a certificate and its key."""
    chat = ChatServer(reply)

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            with suppress(ConnectionError):
                chat.serve(cast(BinaryIO, self.rfile), cast(BinaryIO, self.wfile))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        scheme = "http"
        if certificate is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(*certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        chat.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield chat
        finally:
            chat.over.set()
            server.shutdown()
            thread.join()


def body(status: str, content: bytes | str, kind: str = "application/json", more: str = "") -> Reply:
    """A whole response."""
    data = content.encode() if isinstance(content, str) else content
    head = f"{_HEAD.format(status=status, kind=kind)}{more}Content-Length: {len(data)}\r\n\r\n".encode()

    def reply(asked: Asked, writer: BinaryIO, over: threading.Event) -> None:
        del asked, over
        _write(writer, head + data)

    return reply


def whole(text: str) -> Reply:
    """The answer of a server that does not stream."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return body("200 OK", json.dumps({"object": "chat.completion", "choices": [choice]}))


def delta(text: str | None, finish_reason: str | None = None) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


def streamed(text: str) -> Reply:
    """An answer as Ollama, llama.cpp and vLLM stream it: a few letters an event."""
    pieces = [delta(text[at : at + 3]) for at in range(0, len(text), 3)]
    return events([b": keep-alive\n\n", *pieces, delta("", "stop"), b"data: [DONE]\n\n"])


def events(pieces: Iterable[bytes], *, ends: bool = True, kind: str = "text/event-stream") -> Reply:
    """A chunked response of these pieces; without an end the connection is then closed."""

    def reply(asked: Asked, writer: BinaryIO, over: threading.Event) -> None:
        del asked
        _write(writer, f"{_HEAD.format(status='200 OK', kind=kind)}Transfer-Encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            if over.is_set():
                return
            _write(writer, f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if not ends:
            raise ConnectionAbortedError
        _write(writer, b"0\r\n\r\n")

    return reply


def closes(said: bytes) -> Reply:
    """Says something, and closes the connection."""

    def reply(asked: Asked, writer: BinaryIO, over: threading.Event) -> None:
        del asked, over
        _write(writer, said)
        raise ConnectionAbortedError

    return reply


def hangs(said: bytes = b"") -> Reply:
    """Says something, and nothing more."""

    def reply(asked: Asked, writer: BinaryIO, over: threading.Event) -> None:
        del asked
        _write(writer, said)
        over.wait()

    return reply


def drips(said: bytes, drop: bytes) -> Reply:
    """Says something, and then a little again and again, without end."""

    def reply(asked: Asked, writer: BinaryIO, over: threading.Event) -> None:
        del asked
        _write(writer, said)
        while not over.wait(0.01):
            _write(writer, drop)

    return reply


def _write(writer: BinaryIO, data: bytes) -> None:
    writer.write(data)
    writer.flush()
