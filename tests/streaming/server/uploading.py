"""How tests upload a recording, byte by byte, what is answered, and the recordings that they upload."""

import io
import json
import socket
import wave
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.streaming.serving import PATIENCE_S, Served, s16
from tests.tones import Speech, random_words, speech_of

PATH = "/v1/audio/transcriptions"
BOUNDARY = "of-the-form"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def told(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.told["error"]


def wav_of(speech: Speech) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(16_000)
        recording.writeframes(s16(speech.samples))
    return written.getvalue()


def form_of(file: bytes | None, **fields: str | list[str]) -> bytes:
    """A form with the model's name, unless another one, and the file behind the fields."""
    parts = list[bytes]()
    for name, value in {"model": "whisper-1", **fields}.items():
        for each in [value] if isinstance(value, str) else value:
            key = name if isinstance(value, str) else f"{name}[]"
            parts.append(f'Content-Disposition: form-data; name="{key}"\r\n\r\n{each}'.encode())
    if file is not None:
        head = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
        parts.append(head + file)
    return b"".join(f"--{BOUNDARY}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def head_of(length: int | None, path: str = PATH, headers: str = "", *, method: str = "POST") -> bytes:
    """The head of an upload; length None: its body comes in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{size}\r\n{kind}\r\n{headers}\r\n".encode()


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in [*pieces, b""])


class Uploader:
    """A connection that uploads; it may say anything."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._read = self.socket.makefile("rb")

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._read.close()
        self.socket.close()

    def vanish(self) -> None:
        """Lose the connection without a word: with this, the other side hears a reset and not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def say(self, *pieces: bytes) -> None:
        """Say all of it, unless the server has enough of it before."""
        with suppress(OSError):
            for piece in pieces:
                self.socket.sendall(piece)

    def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of an answer; status 0 where there is none."""
        first = self._read.readline()
        headers = dict[str, str]()
        while line := self._read.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return int(first.split()[1]) if first else 0, headers

    def answer(self) -> Answer:
        status, headers = self.head()
        return Answer(status, headers, self.rest(headers))

    def rest(self, headers: Mapping[str, str]) -> str:
        """Read the body of an answer with this head."""
        if headers.get("transfer-encoding") != "chunked":
            return self._read.read(int(headers.get("content-length", "0"))).decode()
        body = ""
        while piece := self.piece():
            body += piece
        return body

    def piece(self) -> str:
        """Read a piece of an answer that comes in pieces; empty at its end."""
        n_bytes = int(self._read.readline(), 16)
        piece = self._read.read(n_bytes)
        assert self._read.readline() == b"\r\n"
        return piece.decode()


def uploaded(
    served: Served, file: bytes | None, path: str = PATH, headers: str = "", **fields: str | list[str]
) -> Answer:
    """Upload a recording in a connection of its own."""
    body = form_of(file, **fields)
    with Uploader(served.port) as uploader:
        uploader.say(head_of(len(body), path, headers), body)
        return uploader.answer()


def deltas_of(body: str) -> tuple[str, list[dict[str, Any]]]:
    """The deltas of a stream of events, joined, and all its events but the last, which only says that it is over."""
    lines = [line.removeprefix("data: ") for line in body.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    events = [json.loads(line) for line in lines]
    return "".join(each.get("delta", "") for each in events), events


def is_free(served: Served) -> bool:
    """Whether nothing is left of any upload."""
    return not served.count("sessions_open") and served.registry.n_connections == 0


SPEECH = speech_of(random_words(20, 1))
TEXT = SPEECH.text.strip()
WAV = wav_of(SPEECH)
LONG_SPEECH = speech_of(random_words(100, 2))
LONG = wav_of(LONG_SPEECH)
