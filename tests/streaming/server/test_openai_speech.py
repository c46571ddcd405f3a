"""/v1/audio/speech, as OpenAI's own client asks for it: what is said is heard again in every format."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from simul_whisper import SpeechConfig, VoiceError, from_s16
from streaming.audio.files import read_audio
from streaming.audio.pcm import resampled
from streaming.protocols.openai_speech import CONTENT_TYPES, MOST_CHARS, VOICES
from streaming.server.openai_speech import SpeechMaker
from streaming.server.speech import Speech
from tests.speaking import HeldVoice, LoudVoice, ToneVoices, heard_again
from tests.streaming.server.uploading import Uploader, head_of
from tests.streaming.serving import PATIENCE_S, Served, serving, with_limits
from tests.tones import random_words, speech_of

PATH = "/v1/audio/speech"
TEXT = speech_of(random_words(8, 5)).text.strip()


# A server that is stopped while a voice hangs.
HANGING = """
import http.client, json
from streaming.server.openai_speech import SpeechMaker
from streaming.server.speech import Speech
from tests.speaking import HeldVoice, ToneVoices
from tests.streaming.serving import serving

voice = HeldVoice()
with serving(speech=Speech(voices=ToneVoices(voice))) as served:
    client = http.client.HTTPConnection("127.0.0.1", served.port)
    client.request("POST", "/v1/audio/speech", json.dumps({"model": "tts-1", "voice": "alloy", "input": "one"}))
    assert voice.is_asked.wait(60)
    client.close()
"""


def asked(served: Served) -> openai.OpenAI:
    return openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{served.port}/v1", max_retries=0)


@pytest.fixture(scope="module")
def voice() -> LoudVoice:
    return LoudVoice()


@pytest.fixture(scope="module")
def served(voice: LoudVoice) -> Iterator[Served]:
    with serving(speech=Speech(voices=ToneVoices(voice))) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with asked(served) as client:
        yield client


@pytest.mark.parametrize("form", [each for each in CONTENT_TYPES if each != "pcm"])
def test_what_is_said_is_heard_again(client: openai.OpenAI, tmp_path: Path, form: Any) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=TEXT, response_format=form
    ) as answer:
        assert answer.headers["content-type"] == CONTENT_TYPES[form]
        answer.stream_to_file(tmp_path / f"said.{form}")
    assert heard_again(read_audio(tmp_path / f"said.{form}")) == TEXT.split()


def test_pcm_has_no_header_and_the_rate_of_the_service(client: openai.OpenAI, voice: LoudVoice) -> None:
    answer = client.audio.speech.create(model="tts-1-hd", voice="nova", input=TEXT, response_format="pcm", speed=1.25)
    samples = from_s16(resampled(answer.content, 24_000, 16_000))
    assert heard_again(samples) == TEXT.split()
    assert voice.asked[-1] == (TEXT.lower(), "en", 1.25)


def test_a_speed_of_ones_own_takes_the_place_of_the_servers(voice: LoudVoice) -> None:
    """The fastest of one times the fastest of the other would be faster than any voice speaks."""
    with serving(speech=Speech(SpeechConfig(speed=2), ToneVoices(voice))) as served, asked(served) as client:
        for speed, spoken in ((4.0, 4.0), (openai.omit, 2.0)):
            client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format="pcm", speed=speed)
            assert voice.asked[-1][2] == spoken


def test_a_stream_of_events_holds_the_same_file(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "marin", "input": TEXT, "response_format": "pcm"}
    whole = client.audio.speech.create(**asked).content
    told = client.audio.speech.create(**asked, stream_format="sse", instructions="Whisper.").text
    events = [json.loads(each.removeprefix("data: ")) for each in told.split("\n\n") if each]
    assert b"".join(base64.b64decode(each["audio"]) for each in events[:-1]) == whole
    assert events[-1]["type"] == "speech.audio.done"


@pytest.mark.parametrize(
    ("changes", "language"),
    [
        ({}, "en"),
        ({"voice": "tones"}, "en"),
        ({"voice": {"id": "tones"}}, "en"),
        ({"extra_body": {"language": "de"}}, "de"),
    ],
)
def test_voices_have_our_names_and_the_services(
    client: openai.OpenAI, voice: LoudVoice, changes: dict[str, Any], language: str
) -> None:
    client.audio.speech.create(**{"model": "tts-1", "voice": VOICES[0], "input": TEXT, **changes})
    assert voice.asked[-1][1] == language


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": "whisper-1"}, "model"),
        ({"model": 3}, "model"),
        ({"input": ""}, "input"),
        ({"input": ["one"]}, "input"),
        ({"input": "x" * (MOST_CHARS + 1)}, "input"),
        ({"voice": "somebody"}, "voice"),
        ({"voice": {"id": ["tones"]}}, "voice"),
        ({"voice": None}, "voice"),
        ({"input": "Привет"}, "input"),
        ({"speed": 5}, "speed"),
        ({"speed": True}, "speed"),
        ({"response_format": "midi"}, "response_format"),
        ({"response_format": {}}, "response_format"),
        ({"stream_format": "x"}, "stream_format"),
        ({"extra_body": {"language": "fr"}}, "language"),
        ({"extra_body": {"language": [[]]}}, "language"),
        ({"extra_body": {"pitch": 3}}, "'pitch'"),
    ],
)
def test_what_cannot_be_had_is_refused_in_the_services_form(
    client: openai.OpenAI, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": TEXT, **changes})
    assert isinstance(caught.value, openai.NotFoundError if param == "model" else openai.BadRequestError)
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 20_000, b'{"input": 1' + b"0" * 60_000 + b"}"])
def test_a_body_that_is_none_is_refused(served: Served, body: bytes) -> None:
    with Uploader(served.port) as uploader:
        uploader.say(head_of(len(body), PATH), body)
        assert uploader.answer().status == 400


def test_a_body_that_is_too_big_is_refused_before_it_is_read_to_its_end(served: Served) -> None:
    with Uploader(served.port) as uploader:
        uploader.say(head_of(1 << 30, PATH), bytes(70_000))
        assert uploader.answer().status == 413


def test_a_server_without_a_voice_says_so() -> None:
    with serving() as served:
        client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{served.port}/v1")
        with client, pytest.raises(openai.NotFoundError, match="no voice"):
            client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)


def test_it_is_told_while_it_is_made_and_breaks_off_with_the_voice() -> None:
    voice = HeldVoice(error=VoiceError("hoarse"), n_before_error=1)
    voice.may_speak.set()
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "wav"}).encode()
    with serving(speech=Speech(voices=ToneVoices(voice))) as served, Uploader(served.port) as uploader:
        uploader.say(head_of(len(body), PATH), body)
        status, headers = uploader.head()
        assert (status, headers["content-type"]) == (200, "audio/wav")
        with pytest.raises((ValueError, ConnectionError)):
            uploader.rest(headers)


def test_no_more_is_spoken_at_a_time_than_there_are_places() -> None:
    voice = HeldVoice()
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": TEXT}).encode()
    limits = with_limits(spoken_per_address=1)
    with serving(limits, speech=Speech(voices=ToneVoices(voice))) as served, Uploader(served.port) as first:
        first.say(head_of(len(body), PATH), body)
        assert voice.is_asked.wait(60)
        with Uploader(served.port) as second:
            second.say(head_of(len(body), PATH), body)
            answer = second.answer()
        voice.may_speak.set()
        assert answer.status == 429
        assert "1 texts from your address are being spoken" in answer.error["message"]


def test_a_voice_that_hangs_is_not_waited_for_and_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = HeldVoice()
    monkeypatch.setattr(SpeechMaker.__init__, "__defaults__", (0.3,))
    with serving(with_limits(max_spoken=1), speech=Speech(voices=ToneVoices(voice))) as served:
        for _ in range(2):
            with asked(served) as client, pytest.raises(openai.InternalServerError, match=r"said nothing for 0\.3 s"):
                client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
        assert [thread.name for thread in threading.enumerate()].count("speech") == 1
        voice.may_speak.set()


def test_a_voice_that_hangs_does_not_keep_the_program_from_its_end() -> None:
    subprocess.run([sys.executable, "-c", HANGING], timeout=PATIENCE_S, check=True)
