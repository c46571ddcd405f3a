"""What a plain client says to a server, word for word, and what it is told."""

import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from streaming.protocols.dialect import End, Flush
from streaming.protocols.native import client_text
from streaming.sessions.request import SessionRequest
from tests.streaming.serving import PATIENCE_S, Served, Talker, s16
from tests.tones import random_words, speech_of

HELLO, END, FLUSH = client_text(SessionRequest()), client_text(End()), client_text(Flush())
SPEECH = speech_of(random_words(20, 1))
AUDIO = s16(SPEECH.samples)
PIECES = [AUDIO[at : at + 4001] for at in range(0, len(AUDIO), 4001)]


def told(served: Served, *messages: str | bytes) -> tuple[list[Any], int | None]:
    """Say this in a new connection; return all that comes, and the close code."""
    with Talker(served) as talker:
        talker.say(*messages)
        return talker.rest(), talker.close_code


def ask(port: int, *pieces: bytes, until: bytes | None = None) -> bytes:
    """Say these bytes, whatever they are; return all that comes until that is told, or the server closes."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw, suppress(ConnectionError):
        for piece in pieces:
            raw.sendall(piece)
        while (until is None or until not in answer) and (data := raw.recv(65_536)):
            answer += data
    return answer


def get(served: Served, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Ask for a page; return its status and text."""
    request = urllib.request.Request(f"http://127.0.0.1:{served.port}{path}", headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
