"""What is asked for in Deepgram's handshake: it becomes settings of ours, or is refused with a reason."""

import json
from typing import Any

import pytest

from streaming.events import Reason
from streaming.protocols.dialect import Open
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat
from tests.dialects.deepgram import LINEAR16, spoken


def request(query: str) -> SessionRequest:
    (command,) = spoken(query).begin()
    assert isinstance(command, Open)
    return command.request


def refusal(query: str) -> Refusal:
    with pytest.raises(Refusal) as refused:
        spoken(query).check()
    return refused.value


@pytest.mark.parametrize(
    ("query", "audio"),
    [
        ("", None),
        ("sample_rate=8000&channels=9", None),
        (LINEAR16, PcmFormat("s16le", 16_000, 1)),
        ("encoding=linear32&sample_rate=48000&channels=2", PcmFormat("f32le", 48_000, 2)),
        ("encoding=mulaw&sample_rate=8000", PcmFormat("mulaw", 8_000, 1)),
        ("encoding=alaw&sample_rate=8000&channels=1", PcmFormat("alaw", 8_000, 1)),
    ],
)
def test_audio_has_the_format_that_is_named_and_is_a_container_otherwise(query: str, audio: PcmFormat | None) -> None:
    assert request(query).audio == audio


@pytest.mark.parametrize(
    ("query", "engine"),
    [
        ("model=nova-3&punctuate=true&smart_format=true&numerals=true&tag=a&unheard_of=1", {}),
        ("language=en-US", {"language": "en"}),
        ("language=zh-Hant-TW", {"language": "zh"}),
        ("language=jv", {"language": "jw"}),
        ("language=multi", {"language": "auto"}),
        ("detect_language=true", {"language": "auto"}),
        (
            "keyterm=Whisper&keyterm=hop of mel&keywords=frame:2&keywords=hop of mel&keywords=hope:-2",
            {"terms": ("Whisper", "hop of mel", "frame")},
        ),
        ("keyterm=&diarize=false&redact=false&multichannel=false&callback=", {}),
    ],
)
def test_settings_become_ours(query: str, engine: dict[str, str]) -> None:
    assert request(f"{LINEAR16}&{query}").engine == engine


@pytest.mark.parametrize(
    ("query", "voice"),
    [
        ("", {}),
        ("endpointing=true", {}),
        ("endpointing=false", {}),
        ("endpointing=500", {"vad_silence": 0.5}),
        ("endpointing=10", {"vad_silence": 0.3}),
        ("endpointing=60000", {"vad_silence": 10.0}),
    ],
)
def test_endpointing_says_how_much_silence_ends_an_utterance(query: str, voice: dict[str, float]) -> None:
    assert request(query).voice == voice


def test_drafts_are_asked_for_only_with_interim_results() -> None:
    assert not request(LINEAR16).drafts
    assert request("interim_results=true").drafts
    assert request("interim_results=True").drafts


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("encoding=opus", "linear16, linear32, mulaw, alaw; other audio comes in a container"),
        ("encoding=linear16", "sample_rate"),
        ("encoding=linear16&sample_rate=1", "8000-192000"),
        ("encoding=linear16&sample_rate=16000&channels=0", "1-8"),
        ("encoding=linear16&sample_rate=²", "a whole number"),
        ("sample_rate=99999999999999999999&encoding=mulaw", "a whole number"),
        ("language=klingon", "Whisper does not know"),
        ("language=fr", "base does not know"),
        ("endpointing=soon", "a whole number"),
        ("endpointing=-1", "a whole number"),
        ("utterance_end_ms=999999", "at most 60000"),
        ("interim_results=perhaps", "true or false"),
        ("diarize=true", "speakers are not told apart"),
        ("diarize_model=latest", "speakers are not told apart"),
        ("redact=false&redact=pci", "nothing is redacted"),
        ("replace=a:b", "no words are replaced"),
        ("search=a", "nothing is searched for"),
        ("detect_entities=true", "no entities"),
        ("callback=https://example.org", "on this connection only"),
        ("multichannel=true", "heard as one"),
    ],
)
def test_what_cannot_be_had_is_refused_with_status_400_and_a_reason(query: str, said: str) -> None:
    refused = refusal(query)
    denial = spoken(query).deny(refused)
    assert denial.status == 400
    assert said in json.loads(denial.body)["err_msg"]
    assert denial.headers["dg-request-id"] == json.loads(denial.body)["request_id"]


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.UNAUTHORIZED, 401, "INVALID_AUTH"),
        (Reason.ORIGIN, 403, "FORBIDDEN"),
        (Reason.TOO_MANY_CONNECTIONS, 429, "TOO_MANY_REQUESTS"),
        (Reason.NOT_READY, 503, "UNAVAILABLE"),
    ],
)
def test_each_refused_handshake_has_its_status(reason: Reason, status: int, code: str) -> None:
    denial = spoken().deny(Refusal(reason, "no\r\nway: é"))
    assert (denial.status, json.loads(denial.body)["err_code"]) == (status, code)
    assert denial.headers["dg-error"].isascii()
    assert denial.headers["dg-error"].isprintable()


@pytest.mark.parametrize(
    ("options", "token", "subprotocol"),
    [
        ({"headers": {"authorization": "Token a key"}}, "a key", None),
        ({"headers": {"authorization": "bearer key"}}, "key", None),
        ({"headers": {"authorization": "Basic key"}}, "", None),
        ({"subprotocols": ("token", "key")}, "key", "token"),
        ({"subprotocols": ("bearer", "key", "more")}, "key", "bearer"),
        ({"subprotocols": ("token",)}, "", None),
        ({"subprotocols": ("chat", "key")}, "", None),
        ({}, "", None),
    ],
)
def test_the_token_stands_in_the_header_or_in_the_subprotocols(
    options: dict[str, Any], token: str, subprotocol: str | None
) -> None:
    dialect = spoken(**options)
    assert (dialect.token(), dialect.subprotocol) == (token, subprotocol)


def test_multichannel_audio_of_one_channel_is_as_good_as_any() -> None:
    assert request(f"{LINEAR16}&multichannel=true&channels=1").audio == PcmFormat()
