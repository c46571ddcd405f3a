"""uvicorn's HTTP connection, with limits of time and size that it lacks.

A request has no body: nothing here takes one. Whoever sends none that can be read within the time, or does not read the
answer, is told so where that is possible, and closed.
"""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from streaming.server.doorway import Caller, Doorway
from streaming.server.limits import Limits
from streaming.server.security_headers import SECURITY_HEADERS

# Where requests of the application have their Caller.
CALLER = "simul_whisper.caller"
_MOST_HEAD_BYTES = 16_384
# Bytes of a header's line besides name and value, and of the request's line besides method and target.
_HEADER_EXTRA, _REQUEST_EXTRA = len(": \r\n"), len("  HTTP/1.1\r\n")
# What a client has to read the last answer, before bytes that nobody reads reset the connection.
_GRACE_S = 2.0


class _Unacceptable(Exception):  # noqa: N818
    """A request that is answered with this status, whatever it asks for."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = HTTPStatus(status)


class _Requests(h11.Connection):
    """Raises _Unacceptable where it would have raised RemoteProtocolError, and for what nobody here reads."""

    def next_event(self) -> Any:
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            raise _Unacceptable(error.error_status_hint) from error
        if isinstance(event, h11.Request):
            _check(event)
        return event


def _check(request: h11.Request) -> None:
    """Refuse what the reader of WebSocket handshakes would choke on, and all bodies. Raises _Unacceptable."""
    if len(request.method) + len(request.target) + _REQUEST_EXTRA > MAX_LINE_LENGTH:
        raise _Unacceptable(HTTPStatus.REQUEST_URI_TOO_LONG)
    longest = max((len(name) + len(value) for name, value in request.headers), default=0)
    if longest + _HEADER_EXTRA > MAX_LINE_LENGTH or len(request.headers) > MAX_NUM_HEADERS:
        raise _Unacceptable(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    has_length = any(name == b"content-length" and int(value) for name, value in request.headers)
    if has_length or any(name == b"transfer-encoding" for name, _ in request.headers):
        raise _Unacceptable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class UvicornHttp(H11Protocol):
    """caller: of a connection that is counted already, because it is encrypted."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        doorway: Doorway,
        limits: Limits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _Requests(h11.SERVER, _MOST_HEAD_BYTES)
        self._doorway, self._limits = doorway, limits
        self.caller: Caller | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_spoken = self._is_refused = False
        self._answering: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.caller is None:
            self.caller = self._doorway.enter(self.client[0] if self.client else "", transport.abort)
        self.caller.end = transport.abort
        if self.ws_protocol_class is not None:
            self.ws_protocol_class = partial(self.ws_protocol_class, caller=self.caller)  # type: ignore[assignment, call-arg]
        self._within(self._limits.head_s, self._end_silence)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._known.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # What follows is read on, or the answer would be lost with the connection.
        if not self._is_refused:
            self._has_spoken = True
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whoever has said all may still read the answer; asyncio cannot do that where it encrypts."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering:
            self.cycle.keep_alive = False
        return is_answering and self.transport.can_write_eof()

    def handle_events(self) -> None:
        try:
            super().handle_events()
        except _Unacceptable as error:
            self._refuse(error.status)
            return
        if self.cycle is not None and not self.cycle.response_complete and self.cycle is not self._answering:
            self._answering = self.cycle
            self.cycle.scope[CALLER] = self._known  # type: ignore[literal-required]
            self._known.is_answered = True
            self._known.forgive()
            self._known.is_here()
            self._within(self._limits.slow_reader_s, self.transport.abort)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_timer()
        self._known.charge()
        self._known.is_here()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        self._known.is_answered = False
        if self.transport.is_closing():
            self._within(_GRACE_S, self.transport.abort)
        else:
            self._has_spoken = False
            self._known.is_here()
            self._within(self._limits.head_s, self._end_silence)
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def shutdown(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._close()
        else:
            self.cycle.keep_alive = False

    def _unsupported_upgrade_warning(self) -> None:
        """Clients decide how often that happens, so it is not logged."""

    @property
    def _known(self) -> Caller:
        assert self.caller is not None
        return self.caller

    def _end_silence(self) -> None:
        if self._has_spoken:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._doorway.turned_away["silent"] += 1
            self._close()

    def _refuse(self, status: HTTPStatus) -> None:
        self._is_refused = True
        self._unset_keepalive_if_required()
        self._doorway.turned_away[str(status.value)] += 1
        self.transport.write(_refusal(status))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._within(_GRACE_S, self.transport.abort)

    def _close(self) -> None:
        self.transport.close()
        self._within(_GRACE_S, self.transport.abort)

    def _within(self, timeout_s: float, otherwise: Callable[[], None]) -> None:
        """Set what happens unless something else is set first."""
        self._stop_timer()
        self._timer = self.loop.call_later(timeout_s, otherwise)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _refusal(status: HTTPStatus) -> bytes:
    body = f"{status.phrase.lower()}\n".encode()
    headers = [
        *SECURITY_HEADERS,
        ("date", formatdate(usegmt=True)),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", f"{len(body)}"),
        ("connection", "close"),
    ]
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode() + body
