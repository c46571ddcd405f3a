"""How tests speak the dialects: one driver for each, a few dozen lines that need no official client.

A driver is a module here. It has a `Call`, which is one conversation over a real connection, and a `Speaker`, which
knows what may be said; `tests/dialects/lines.py` is the shortest. What must be true of every dialect is asserted over
all of them in tests/contracts/test_dialects.py.
"""

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from streaming.protocols.dialect import Dialect, Handshake, Message
from streaming.sessions.request import SessionRequest
from streaming.settings import PcmFormat
from tests.dialects.malformed import near
from tests.streaming.serving import PATIENCE_S

_Self = TypeVar("_Self", bound="Call")


class Port(Protocol):
    """What a driver needs of a server: its port, and those of the dialects that have their own, by name."""

    port: int
    dialect_ports: dict[str, int]


class ToldError(Exception):
    """The server has answered with an error, in the form that the dialect has for it."""


class Call(ABC):
    """One conversation over a real connection, from the handshake on."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send audio in the format of the speaker's `request`, cut anywhere."""

    @abstractmethod
    def end(self) -> None:
        """Say that no audio follows."""

    @abstractmethod
    def said(self) -> Iterator[str]:
        """Yield the text that will never change, as it comes, to the end of the session.

        Joined, it is what the native protocol tells. Raises ToldError for an error in the dialect's own form, and
        AssertionError for what the dialect does not know, and for an end without its goodbye.
        """

    @abstractmethod
    def say(self, message: Message) -> None:
        """Send any message, rightly formed or not. What the server has closed meanwhile is no error here."""

    @abstractmethod
    def vanish(self) -> None:
        """Lose the connection without a word."""

    @abstractmethod
    def close(self) -> None:
        """Leave in peace; may be called again."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WebSocketCall(Call):
    """path: with its query. close_is_error: a close that is not normal is how this dialect tells an error."""

    close_is_error = False

    def __init__(self, port: int, path: str, **options: Any) -> None:
        """options: of `websockets.sync.client.connect`. Raises ToldError when the handshake is refused."""
        url = f"ws://127.0.0.1:{port}{path}"
        try:
            self.socket = connect(url, compression=None, max_size=None, proxy=None, **options).__enter__()
        except InvalidStatus as refused:
            raise ToldError(f"{refused.response.status_code} {refused.response.body!r}") from refused

    def say(self, message: Message) -> None:
        with suppress(ConnectionClosed):
            self.socket.send(message)

    def heard(self) -> Iterator[Message]:
        """Yield every message of the server, until it closes."""
        try:
            while True:
                yield self.socket.recv(PATIENCE_S)
        except ConnectionClosed:
            code, reason = self.socket.close_code, self.socket.close_reason
            if code != 1000:
                assert self.close_is_error, f"closed with {code} ({reason}), but no error was told"
                raise ToldError(f"{code} {reason}") from None

    def vanish(self) -> None:
        self.socket.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close_socket()

    def close(self) -> None:
        self.socket.close()


class StreamCall(Call):
    """Bytes both ways; the client's half is closed first."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)

    def say(self, message: Message) -> None:
        with suppress(OSError):
            self.socket.sendall(message.encode() if isinstance(message, str) else message)

    def send(self, data: bytes) -> None:
        self.say(data)

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        # With this, the other side hears a reset and not an end.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        self.socket.close()


class Speaker(ABC):
    """A dialect as the tests speak it.

    name, speaks: as in the catalogue; None for requests of HTTP. request: what the calls amount to in the native
    protocol; its `audio` is the format that is sent. asks_for_token: False where the dialect has no place for one.
    tells_at_once: False where words become final later than natively, as the dialect has it. names_models: whether a
    client can say which of several models is to listen.
    """

    name: str
    speaks: type[Dialect] | None = None
    request = SessionRequest(PcmFormat(), drafts=False)
    asks_for_token = True
    tells_at_once = True
    names_models = False

    @abstractmethod
    def call(self, served: Port, token: str = "") -> Call:
        """Begin a conversation. Raises ToldError when the dialect refuses it here."""

    def call_model(self, served: Port, model: str) -> Call:
        """Begin a conversation that this model is to hear. Override where the dialect `names_models`."""
        raise NotImplementedError

    @abstractmethod
    def examples(self) -> Sequence[Message]:
        """Return messages of every kind that a client may send, rightly formed; malformed ones are made of them."""

    def handshakes(self) -> Sequence[Handshake]:
        """Return ways to come, right and wrong, for those who speak to the dialect without a connection."""
        return [Handshake("somebody", 1_700_000_000.0)]

    def malformed(self) -> st.SearchStrategy[Message]:
        """What somebody hostile sends: nearly right, and not at all."""
        return near(self.examples())

    def encoded(self, pcm: bytes) -> bytes:
        """Return s16le at 16 kHz, mono, in the format of the request. Override for any but s16le and f32le, mono."""
        audio = self.request.audio
        assert audio is not None
        assert (audio.channels, audio.encoding) in ((1, "s16le"), (1, "f32le"))
        samples = np.frombuffer(pcm, "<i2")
        if len(samples) and audio.rate != 16_000:
            at = np.arange(len(samples) * audio.rate // 16_000) * 16_000 / audio.rate
            samples = np.interp(at, np.arange(len(samples)), samples).astype("<i2")
        return samples.tobytes() if audio.encoding == "s16le" else (samples / 32_768).astype("<f4").tobytes()

    def transcript(self, served: Port, pcm: bytes, *, pieces: Iterable[int] = ()) -> str:
        """Speak to the end, and return what was said. pieces: sizes in bytes of what is sent; the rest is one."""
        with self.call(served) as call:
            return self.said_in(call, pcm, pieces)

    def said_in(self, call: Call, pcm: bytes, pieces: Iterable[int] = ()) -> str:
        """Speak in a conversation to the end, and return what was said. As of `transcript`."""
        for piece in cut(self.encoded(pcm), pieces):
            call.send(piece)
        call.end()
        return "".join(call.said())


def cut(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """Cut bytes into pieces of these sizes, and the rest."""
    ends = [min(int(end), len(data)) for end in np.cumsum([0, *sizes])]
    return [data[start:end] for start, end in pairwise([*ends, len(data)])]
