"""OpenAI's Realtime transcription over real sockets: item after item, errors, keys, and the audio of telephones."""

from typing import Any

import pytest

from streaming.server.access import Access
from streaming.server.tokens import Tokens
from tests.dialects import ToldError
from tests.dialects import openai_realtime as driver
from tests.dialects.openai_realtime import CLEAR, COMPLETED, PATH, update
from tests.streaming.audio.test_pcm import encoded
from tests.streaming.serving import Served, s16, serving
from tests.tones import random_words, speech_of

SPEECH = speech_of(random_words(8, 3))


def transcripts(events: list[dict[str, Any]]) -> list[str]:
    return [each["transcript"] for each in events if each["type"] == COMPLETED]


def test_item_after_item_has_its_words(served: Served) -> None:
    data = driver.SPEAKER.encoded(s16(SPEECH.samples))
    with driver.RealtimeCall(served.port) as call:
        for _ in range(3):
            call.send(data)
            call.end()
        texts = [transcripts(call.until(COMPLETED)) for _ in range(3)]
        call.send(data)
        call.say(CLEAR)
        call.until("input_audio_buffer.cleared")
        call.send(data)
        call.say(update(transcription={"language": "en", "prompt": "red"}))
        call.send(data)
        call.end()
        texts.append(transcripts(call.until(COMPLETED)))
    assert texts[:3] == [[SPEECH.text.strip()]] * 3
    assert texts[3] == [(SPEECH.text * 2).strip()]


def test_an_error_is_told_and_the_words_come_all_the_same(served: Served) -> None:
    data = driver.SPEAKER.encoded(s16(SPEECH.samples))
    with driver.RealtimeCall(served.port) as call:
        call.send(data[:10_001])
        call.say("{}")
        call.say(b"\0")
        for _ in range(2):
            with pytest.raises(ToldError):
                call.until("error")
        call.send(data[10_001:])
        call.end()
        assert transcripts(call.until(COMPLETED)) == [SPEECH.text.strip()]


def test_a_wrong_key_is_refused_before_there_is_a_connection() -> None:
    key = "k" * 16
    with serving(access=Access(Tokens({"me": key}))) as served:
        with pytest.raises(ToldError, match=r"401.*invalid_api_key"):
            driver.RealtimeCall(served.port, "wrong")
        with driver.RealtimeCall(served.port, key) as call:
            call.until("session.updated")
        offered: Any = ["realtime", f"openai-insecure-api-key.{key}"]
        with driver.EventCall(served.port, PATH, subprotocols=offered) as call:
            assert call.socket.subprotocol == "realtime"


@pytest.mark.parametrize(("kind", "law"), [("audio/pcmu", "mulaw"), ("audio/pcma", "alaw")])
def test_telephones_are_heard(served: Served, kind: str, law: str) -> None:
    speech = speech_of(range(5))
    with driver.RealtimeCall(served.port) as call:
        call.say(update(format={"type": kind}))
        call.send(encoded([speech.samples[::2]], law))
        call.end()
        assert transcripts(call.until(COMPLETED)) == [speech.text.strip()]
