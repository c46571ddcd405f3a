"""uvicorn's HTTP connection, with limits of time and size that it lacks.

A request has no body, but for uploads, which go to a few addresses and whose limits their application keeps. Whoever
sends none that can be read within the time, or does not read the answer, is told so where that is possible, and closed.
"""

import asyncio
import json
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
# So much may be queued before whoever answers has to wait.
_MOST_QUEUED_BYTES = 16_384
# Bytes of a header's line besides name and value, and of the request's line besides method and target.
_HEADER_EXTRA, _REQUEST_EXTRA = len(": \r\n"), len("  HTTP/1.1\r\n")
# What a client has to read the last answer, before bytes that nobody reads reset the connection.
_GRACE_S = 2.0
# A chunk takes as long as many bytes, and others wait meanwhile: beyond so many they must have this on average.
_MOST_SMALL_CHUNKS, _LEAST_CHUNK_BYTES = 512, 128


class _Unacceptable(Exception):  # noqa: N818
    """A request that is answered with this status, whatever it asks for."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = HTTPStatus(status)


class _Requests(h11.Connection):
    """Raises _Unacceptable where it would have raised RemoteProtocolError, and for what nobody here reads.

    uploads: the paths to which a POST may have a body.
    """

    def __init__(self, uploads: frozenset[bytes]) -> None:
        super().__init__(h11.SERVER, _MOST_HEAD_BYTES)
        self._uploads = uploads
        # Of the body that is being read.
        self._n_chunks = self._n_bytes = 0

    def next_event(self) -> Any:
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            raise _Unacceptable(error.error_status_hint) from error
        if isinstance(event, h11.Request):
            self._n_chunks = self._n_bytes = 0
            _check(event, self._uploads)
        elif isinstance(event, h11.Data):
            self._count(event)
        return event

    def _count(self, data: h11.Data) -> None:
        """Raise _Unacceptable for a body in far too many chunks."""
        n_more = self._n_chunks - _MOST_SMALL_CHUNKS
        if data.chunk_start and self._n_bytes < n_more * _LEAST_CHUNK_BYTES:
            raise _Unacceptable(HTTPStatus.BAD_REQUEST)
        self._n_chunks += data.chunk_start
        self._n_bytes += len(data.data)


def _check(request: h11.Request, uploads: frozenset[bytes]) -> None:
    """Refuse what the reader of WebSocket handshakes would choke on, and bodies of all but uploads.

    Raises _Unacceptable.
    """
    if len(request.method) + len(request.target) + _REQUEST_EXTRA > MAX_LINE_LENGTH:
        raise _Unacceptable(HTTPStatus.REQUEST_URI_TOO_LONG)
    longest = max((len(name) + len(value) for name, value in request.headers), default=0)
    if longest + _HEADER_EXTRA > MAX_LINE_LENGTH or len(request.headers) > MAX_NUM_HEADERS:
        raise _Unacceptable(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    lengths = [value for name, value in request.headers if name == b"content-length" and int(value)]
    codings = [value for name, value in request.headers if name == b"transfer-encoding"]
    if not (lengths or codings):
        return
    is_upload = request.method == b"POST" and request.target.partition(b"?")[0] in uploads
    if not is_upload or any(name == b"upgrade" for name, _ in request.headers):
        raise _Unacceptable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if lengths and codings:
        # What stands before this server might believe the other one.
        raise _Unacceptable(HTTPStatus.BAD_REQUEST)


class UvicornHttp(H11Protocol):
    """caller: of a connection that is counted already, because it is encrypted. uploads: paths to which bodies may go.

    While an upload is answered, who closes one half of the connection has gone.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        doorway: Doorway,
        limits: Limits,
        uploads: frozenset[bytes] = frozenset(),
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn, self._uploads = _Requests(uploads), uploads
        self._doorway, self._limits = doorway, limits
        self.caller: Caller | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_spoken = self._is_refused = False
        self._answering: object = None
        # What came behind an upload while that is answered.
        self._early = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(_MOST_QUEUED_BYTES)
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
        if self._is_refused:
            return
        self._has_spoken = True
        if not self._is_heard_out:
            super().data_received(data)
            return
        self._early += data
        if len(self._early) > _MOST_HEAD_BYTES:
            self.flow.pause_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whoever has said all may still read the answer; asyncio cannot do that where it encrypts."""
        is_answering = self._is_answering and not self._is_upload
        if is_answering:
            self.cycle.keep_alive = False
        return is_answering and self.transport.can_write_eof()

    def handle_events(self) -> None:
        try:
            super().handle_events()
        except _Unacceptable as error:
            if self._is_answering:
                self.cycle.scope[CALLER] = self._known  # type: ignore[literal-required]
            self._refuse(error.status)
            return
        if self._is_answering and self.cycle is not self._answering:
            self._answering = self.cycle
            self.cycle.scope[CALLER] = self._known  # type: ignore[literal-required]
            self._known.is_answered = True
            self._known.forgive()
            self._known.is_here()
            if self._is_upload:
                self._stop_timer()
            else:
                self._within(self._limits.slow_reader_s, self.transport.abort)
        if self._is_heard_out:
            # Only who listens hears a client go.
            self.flow.resume_reading()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_timer()
        self._known.charge()
        self._known.is_here()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        self._known.is_answered = False
        if self.transport.is_closing():
            self._within(_GRACE_S, self.transport.abort)
        elif self.cycle.more_body:
            self._end_hearing()
        else:
            self._has_spoken = False
            self._known.is_here()
            self._within(self._limits.head_s, self._end_silence)
        super().on_response_complete()
        early, self._early = self._early, b""
        if early and not self.transport.is_closing():
            self.data_received(early)

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def shutdown(self) -> None:
        if self._is_answering:
            self.cycle.keep_alive = False
        else:
            self._close()

    def _unsupported_upgrade_warning(self) -> None:
        """Clients decide how often that happens, so it is not logged."""

    @property
    def _known(self) -> Caller:
        assert self.caller is not None
        return self.caller

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_upload(self) -> bool:
        """Whether the last request goes where bodies may go."""
        scope = self.cycle.scope
        return scope["method"] == "POST" and scope["raw_path"] in self._uploads

    @property
    def _is_heard_out(self) -> bool:
        """Whether an upload has come to its end and is being answered."""
        return self._is_answering and not self.cycle.more_body and self._is_upload

    def _end_silence(self) -> None:
        if self._has_spoken:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._doorway.turned_away["silent"] += 1
            self._close()

    def _refuse(self, status: HTTPStatus) -> None:
        self._unset_keepalive_if_required()
        self._doorway.turned_away[str(status.value)] += 1
        if self._is_answering:
            # Whoever was to answer it need not.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_refusal(status, self._uploads))
        self._end_hearing()

    def _end_hearing(self) -> None:
        """All was answered; what still comes is read, for a little while, and passed over."""
        self._is_refused = True
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


def _refusal(status: HTTPStatus, uploads: frozenset[bytes]) -> bytes:
    kind, body = "text/plain; charset=utf-8", f"{status.phrase.lower()}\n".encode()
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        kind, body = "application/json", _no_body_here(uploads)
    headers = [
        *SECURITY_HEADERS,
        ("date", formatdate(usegmt=True)),
        ("content-type", kind),
        ("content-length", f"{len(body)}"),
        ("connection", "close"),
    ]
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode() + body


def _no_body_here(uploads: frozenset[bytes]) -> bytes:
    """Tell clients of services, which show this form of an error, what they may have meant."""
    taken = ", ".join(path.decode() for path in sorted(uploads))
    where = f"; it can be to {taken}" if uploads else ""
    error = {
        "message": f"nothing can be posted to this address{where}",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    return f"{json.dumps({'error': error})}\n".encode()
