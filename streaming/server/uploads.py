"""Forms with a recording in them, as they come from strangers: read within bounds, into memory, never into a file."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio import fail_after

from simul_whisper import BackendError
from streaming.events import Reason
from streaming.protocols.reading import refuse, shown
from streaming.server.limits import Limits
from streaming.server.wire import Gone
from streaming.sessions.request import Refusal

try:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header
except ImportError as error:
    raise BackendError("uploads need python-multipart; install it with: pip install 'simul-whisper[live]'") from error

_FILE = "file"
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)
# All that is in a form besides its file, and how many parts that is.
_MOST_OTHER_BYTES, _MOST_PARTS = 65_536, 256


@dataclass
class Form:
    """fields: name to values. file: None when there is none; it may be empty."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    file: bytearray | None = None


class Places:
    """How many things are done at a time, in all and from one network. what, done: such as texts, spoken."""

    def __init__(self, most: int, most_from: int, what: str, done: str) -> None:
        self._most, self._most_from, self._what, self._done = most, most_from, what, done
        self._n_from: Counter[str] = Counter()

    @contextmanager
    def taken(self, network: str) -> Iterator[None]:
        """Raises Refusal when there is no place."""
        if self._n_from[network] >= self._most_from:
            n, what = self._most_from, self._what
            refuse(Reason.TOO_MANY_SESSIONS, f"{n} {what} from your address are being {self._done}; try again later")
        if self._n_from.total() >= self._most:
            n, what = self._most, self._what
            message = f"{n} {what} are being {self._done}, and no more at a time; try again later"
            refuse(Reason.TOO_MANY_SESSIONS, message)
        self._n_from[network] += 1
        try:
            yield
        finally:
            self._n_from[network] -= 1
            if not self._n_from[network]:
                del self._n_from[network]


async def read_upload(
    content_type: str, content_length: str, receive: Callable[[], Awaitable[Any]], limits: Limits
) -> Form:
    """Read the body of a request: `receive` as of ASGI. Raises Refusal, and Gone when the client goes meanwhile."""
    reader = _FormReader(_boundary(content_type), limits.max_upload)
    if content_length.isdecimal() and len(content_length) < 20:
        reader.check_size(int(content_length))
    try:
        with fail_after(limits.upload_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone(is_for_good=True)
                reader.feed(message["body"])
                if not message["more_body"]:
                    return reader.end()
    except TimeoutError as error:
        text = f"the recording was not uploaded within {limits.upload_s:g} s; send a smaller one, or parts of it"
        raise Refusal(Reason.IDLE, text) from error


def _boundary(content_type: str) -> bytes:
    kind, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        refuse(Reason.BAD_VALUE, f"got a body of type {shown(content_type)}, expected multipart/form-data")
    return boundary


class _FormReader:
    """Takes a body in pieces. most_bytes: of its file."""

    def __init__(self, boundary: bytes, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._form = Form()
        self._n_bytes = self._n_parts = 0
        self._header = self._value = b""
        # The part that is being read: what its head says, and what it holds.
        self._disposition = b""
        self._name = ""
        self._part = bytearray()
        self._is_whole = False
        try:
            self._parser = MultipartParser(boundary, self._callbacks())  # type: ignore[arg-type]
            # What strangers send is not for the log.
            self._parser.logger = _SILENT
        except FormParserError as error:
            raise _malformed(error) from error

    def check_size(self, n_bytes: int) -> None:
        """Raises Refusal for a body of that many bytes."""
        if n_bytes > self._most_bytes + _MOST_OTHER_BYTES:
            self._refuse_size()

    def feed(self, data: bytes) -> None:
        """Raises Refusal."""
        self._n_bytes += len(data)
        self.check_size(self._n_bytes)
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(error) from error

    def end(self) -> Form:
        """Raises Refusal."""
        if not self._is_whole:
            refuse(Reason.BAD_VALUE, "the form breaks off; its last line, the closing boundary, is missing")
        return self._form

    def _refuse_size(self) -> None:
        refuse(Reason.MESSAGE_TOO_BIG, f"a recording may have {self._most_bytes} bytes at most; send a smaller one")

    def _callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin_part,
            "on_header_begin": self._begin_header,
            "on_header_field": self._read_header,
            "on_header_value": self._read_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_head,
            "on_part_data": self._read_part,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._n_parts += 1
        if self._n_parts > _MOST_PARTS:
            refuse(Reason.BAD_VALUE, f"the form has more than {_MOST_PARTS} parts")
        self._disposition, self._part = b"", bytearray()

    def _begin_header(self) -> None:
        self._header = self._value = b""

    def _read_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value

    def _end_head(self) -> None:
        _, parameters = parse_options_header(self._disposition.decode("latin-1"))
        self._name = parameters.get(b"name", b"").decode("utf-8", "replace")
        if self._name == _FILE and self._form.file is not None:
            refuse(Reason.BAD_VALUE, "the form has two files; send one recording at a time")

    def _read_part(self, data: bytes, start: int, end: int) -> None:
        self._part += memoryview(data)[start:end]
        if self._name == _FILE and len(self._part) > self._most_bytes:
            self._refuse_size()
        if self._name != _FILE and len(self._part) > _MOST_OTHER_BYTES:
            refuse(Reason.MESSAGE_TOO_BIG, f"{shown(self._name)} has more than {_MOST_OTHER_BYTES} bytes")

    def _end_part(self) -> None:
        if self._name == _FILE:
            self._form.file = self._part
            return
        try:
            value = self._part.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refusal(Reason.BAD_VALUE, f"the value of {shown(self._name)} is not UTF-8") from error
        self._form.fields.setdefault(self._name, []).append(value)

    def _end(self) -> None:
        self._is_whole = True


def _malformed(error: Exception) -> Refusal:
    return Refusal(Reason.BAD_VALUE, f"the form cannot be read: {shown(str(error))}")
