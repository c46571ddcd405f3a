"""A request of HTTP and its answer, with an end to patience: who does not read is not waited for."""

from typing import Any

from anyio import fail_after, move_on_after
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from streaming.server.doorway import Caller
from streaming.server.uvicorn_http import CALLER
from streaming.server.wire import SlowReaderError

# A client has the time again for each.
_PIECE_BYTES = 65_536


class Exchange:
    """patience_s: how long the client may leave a piece of the answer unread. caller: the connection, as it is counted.

    has_begun: whether a part of the answer was sent. is_events: whether that is a stream of events. is_heard_out:
    whether all of the request was received.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, patience_s: float) -> None:
        self.request = HTTPConnection(scope)
        self.method: str = scope["method"]
        self.caller: Caller = scope[CALLER]
        self.has_begun = self.is_events = self.is_heard_out = self._has_asked = False
        self._receive, self._send, self._patience_s = receive, send, patience_s

    async def receive(self) -> Message:
        """As of ASGI. A client that waits to be asked for the body is asked for it."""
        self._has_asked = True
        message = await self._receive()
        self.is_heard_out = message["type"] == "http.disconnect" or not message["more_body"]
        return message

    async def hear_out(self, patience_s: float) -> None:
        """Pass over what follows of the request, unless the client waits to be asked for it.

        Many clients read no answer before they have said all.
        """
        is_waiting = not self._has_asked and self.request.headers.get("expect", "").lower() == "100-continue"
        with move_on_after(patience_s):
            while not (self.is_heard_out or is_waiting):
                await self.receive()

    async def answer(self, status: int, content_type: str, body: str, headers: dict[str, str] | None = None) -> None:
        """Say all of it. Raises SlowReaderError."""
        data = body.encode("utf-8", "replace")
        await self._begin(status, content_type, {"content-length": f"{len(data)}", **(headers or {})})
        for start in range(0, len(data), _PIECE_BYTES):
            await self.say(data[start : start + _PIECE_BYTES])
        await self.end()

    async def begin_pieces(self, content_type: str) -> None:
        """What follows is said piece by piece."""
        if not self.has_begun:
            await self._begin(200, content_type, {})

    async def say(self, data: bytes) -> None:
        """Raises SlowReaderError."""
        await self._said({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._said({"type": "http.response.body", "body": b"", "more_body": False})

    async def gone(self) -> None:
        """Wait until the client has gone. Its request must have been read to the end."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def give_up(self) -> None:
        """Close the connection of a client that does not read."""
        self.caller.end()

    async def _begin(self, status: int, content_type: str, headers: dict[str, str]) -> None:
        self.has_begun, self.is_events = True, content_type.startswith("text/event-stream")
        told = {"content-type": content_type, "cache-control": "no-store", **headers}
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in told.items()]
        await self._said({"type": "http.response.start", "status": status, "headers": raw})

    async def _said(self, message: Message | dict[str, Any]) -> None:
        try:
            with fail_after(self._patience_s):
                await self._send(message)
        except TimeoutError as error:
            raise SlowReaderError from error
