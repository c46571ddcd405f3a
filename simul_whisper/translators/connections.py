"""Connections to one HTTP server, kept open and lent to one thread at a time: the one module that knows HTTP.

It stands on `httpcore`, the part of `httpx` that talks: `httpx` bounds each read alone, so that a server that sends a
byte now and then would be waited for without end, while these connections know when all must be over. No redirect is
followed, no proxy asked, nothing decompressed.
"""

import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore

from simul_whisper.errors import TranslationError
from simul_whisper.foreign_files import one_line
from simul_whisper.translators.address import Address

_MOST_CONNECTIONS = 8
# Servers close what is idle after five seconds and more, some just when the next request is on its way.
_KEPT_OPEN_S = 4.0


class Deadline:
    """When an exchange must be over."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Return the seconds left. Raises TranslationError when there are none."""
        left_s = self._at - time.monotonic()
        if left_s <= 0:
            raise self.is_over()
        return left_s

    def is_over(self) -> TranslationError:
        """Return what to raise when it has come."""
        return TranslationError(f"did not answer within {self._timeout_s:g} s")

    def bring_forward(self, left_s: float) -> None:
        """Leave at most so much time."""
        self._at = min(self._at, time.monotonic() + left_s)


@dataclass(frozen=True)
class Response:
    """headers: by their names in small letters. pieces: of the body, as they come; they raise TranslationError."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class Connections:
    """address: of the server. They are closed when nobody holds this any more. Safe to call from any thread."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lent = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._idle = list[_Connection]()
        self._tls = _tls() if address.scheme == "https" else None
        weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes, deadline: Deadline
    ) -> Iterator[Response]:
        """Send a request and give the response; what is not read of it by the end of the block costs its connection.

        Raises TranslationError, in words that go on after the name of the server.
        """
        with self._borrowed(deadline) as connection, _in_our_words(deadline):
            url = self._url(path)
            sent = [(name.encode(), value.encode()) for name, value in headers.items()]
            with connection.http.stream(method, url, headers=sent, content=content or None) as response:
                told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                yield Response(response.status, told, _pieces(response.iter_stream(), deadline))

    def _url(self, path: str) -> httpcore.URL:
        address = self._address
        return httpcore.URL(scheme=address.scheme, host=address.host, port=address.port, target=address.path + path)

    @contextmanager
    def _borrowed(self, deadline: Deadline) -> Iterator["_Connection"]:
        if not self._lent.acquire(timeout=deadline.left_s()):
            raise deadline.is_over()
        connection = self._open_one()
        connection.backend.deadline = deadline
        try:
            yield connection
        finally:
            if connection.http.is_idle() and not connection.http.is_closed():
                self._idle.append(connection)
            else:
                connection.http.close()
            self._lent.release()

    def _open_one(self) -> "_Connection":
        """Return a connection that is still open, or a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return _Connection(self._url("").origin, self._tls)
            if not connection.http.has_expired():
                return connection
            connection.http.close()


class _Connection:
    def __init__(self, origin: httpcore.Origin, tls: ssl.SSLContext | None) -> None:
        self.backend = _Backend()
        self.http = httpcore.HTTPConnection(
            origin, ssl_context=tls, keepalive_expiry=_KEPT_OPEN_S, network_backend=self.backend
        )


def _tls() -> ssl.SSLContext:
    """Trust whom browsers trust, and whom this machine does: many an endpoint is in a network of its own."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


def _close_all(connections: Iterable[_Connection]) -> None:
    for connection in connections:
        connection.http.close()


def _pieces(stream: Iterable[bytes], deadline: Deadline) -> Iterator[bytes]:
    with _in_our_words(deadline):
        yield from stream


@contextmanager
def _in_our_words(deadline: Deadline) -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise deadline.is_over() from error
    except httpcore.ConnectError as error:
        raise TranslationError(f"cannot be reached ({one_line(error)}); is it running?") from error
    except httpcore.NetworkError as error:
        raise TranslationError(f"broke off the connection ({one_line(error)})") from error
    except httpcore.ProtocolError as error:
        raise TranslationError(f"does not speak HTTP as expected ({one_line(error)})") from error


class _Backend(httpcore.NetworkBackend):
    """Connects, and gives streams that wait no longer than until the deadline of the exchange they are used for."""

    deadline: Deadline

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.NetworkStream:
        return _Stream(httpcore.SyncBackend().connect_tcp(host, port, self.deadline.left_s()), self)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, backend: _Backend) -> None:
        self._inner = inner
        self._backend = backend

    def read(self, max_bytes: int, *_: Any, **__: Any) -> bytes:
        return self._inner.read(max_bytes, self._backend.deadline.left_s())

    def write(self, buffer: bytes, *_: Any, **__: Any) -> None:
        self._inner.write(buffer, self._backend.deadline.left_s())

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, *_: Any, **__: Any) -> "_Stream":
        left_s = self._backend.deadline.left_s()
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left_s), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
