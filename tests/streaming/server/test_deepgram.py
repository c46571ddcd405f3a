"""Deepgram's dialect over real sockets: who is let in and how, formats, and ends that nobody wanted."""

import io
import json
import logging
import wave
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from streaming.protocols.deepgram import PATH
from streaming.server.access import Access
from streaming.server.tokens import one_token
from tests.dialects import ToldError
from tests.dialects.deepgram import QUERY, DeepgramCall
from tests.streaming.serving import Served, s16, serving, with_limits
from tests.tones import random_words, speech_of

SPEECH = speech_of(random_words(8, 5))
KEY = "a-key"


def wav(data: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(16_000)
        written.writeframes(data)
    return file.getvalue()


def said(served: Served, query: str, data: bytes) -> str:
    with DeepgramCall(served.port, f"{PATH}?{query}") as call:
        for start in range(0, len(data), 5_001):
            call.send(data[start : start + 5_001])
        call.end()
        return "".join(call.said())


def test_every_format_gives_the_same_words() -> None:
    data = s16(SPEECH.samples)
    both = np.repeat(SPEECH.samples.astype("<f4"), 2).tobytes()
    with serving() as served:
        assert said(served, QUERY, data) == SPEECH.text
        assert said(served, "encoding=linear32&sample_rate=16000&channels=2", both) == SPEECH.text
        assert said(served, "model=base", wav(data)) == SPEECH.text


@pytest.mark.parametrize("scheme", ["Token", "Bearer"])
def test_the_key_in_the_header_opens(scheme: str) -> None:
    with serving(access=Access(one_token(KEY, "--token"))) as served:
        headers = {"Authorization": f"{scheme} {KEY}"}
        with DeepgramCall(served.port, f"{PATH}?{QUERY}", additional_headers=headers) as call:
            call.end()
            assert list(call.said()) == []


def test_the_key_in_the_subprotocols_opens_and_its_name_is_accepted() -> None:
    with serving(access=Access(one_token(KEY, "--token"))) as served:
        offered = [Subprotocol("token"), Subprotocol(KEY)]
        with DeepgramCall(served.port, f"{PATH}?{QUERY}", subprotocols=offered) as call:
            assert call.socket.subprotocol == "token"
            call.end()
            assert list(call.said()) == []


@pytest.mark.parametrize(
    ("headers", "query", "status", "code"),
    [
        ({"Authorization": "Token wrong"}, "encoding=opus", 401, "INVALID_AUTH"),
        ({}, "", 401, "INVALID_AUTH"),
        ({"Authorization": f"Token {KEY}"}, "encoding=opus", 400, "Bad Request"),
    ],
)
def test_a_refused_handshake_says_why_and_is_no_fault_of_the_server(
    headers: dict[str, str], query: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{PATH}?{query}"
    with serving(access=Access(one_token(KEY, "--token"))) as served, pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{served.port}{url}", additional_headers=headers, proxy=None)
    response = refused.value.response
    body: dict[str, Any] = json.loads(response.body or b"")
    assert (response.status_code, body["err_code"]) == (status, code)
    assert response.headers["dg-error"] == body["err_msg"]
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def ended(call: DeepgramCall) -> tuple[int | None, str | None]:
    """How a call was closed, after an error was told."""
    with pytest.raises(ToldError):
        list(call.said())
    call.close_is_error = True
    with pytest.raises(ToldError):
        list(call.heard())
    return call.socket.close_code, call.socket.close_reason


def test_what_is_no_audio_ends_the_stream_with_a_reason() -> None:
    with serving() as served, DeepgramCall(served.port, PATH) as call:
        call.send(b"this is no audio" * 10_000)
        call.end()
        assert ended(call) == (1008, "DATA-0000")


def test_silence_of_the_client_ends_the_stream_with_a_reason() -> None:
    with serving(with_limits(idle_s=0.2)) as served, DeepgramCall(served.port, f"{PATH}?{QUERY}") as call:
        assert ended(call) == (1011, "NET-0001")


def test_who_comes_too_late_is_told_so_and_the_first_is_not_disturbed() -> None:
    with (
        serving(with_limits(sessions_per_address=1)) as served,
        DeepgramCall(served.port, f"{PATH}?{QUERY}") as first,
    ):
        served.wait_for(lambda: served.count("sessions_open") == 1)
        with pytest.raises(ToldError, match=r"^429 .*TOO_MANY_REQUESTS.*1 sessions are open from your address"):
            DeepgramCall(served.port, f"{PATH}?{QUERY}")
        first.send(s16(SPEECH.samples))
        first.end()
        assert "".join(first.said()) == SPEECH.text
