"""Recordings that are uploaded to a real server: what is answered, and what cannot be had."""

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import AlignAttConfig, Model
from simul_whisper.encoders import Features
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.fallback import BackendStatus
from simul_whisper.mel import Mel
from streaming.protocols.native import client_text
from streaming.server.access import Access
from streaming.server.dialects import ALIASES, Dialects
from streaming.server.tokens import Tokens
from streaming.sessions.request import SessionRequest
from tests.conftest import RECORDINGS
from tests.streaming.audio.test_files import sample_format_of, write
from tests.streaming.server.uploading import (
    LONG,
    LONG_SPEECH,
    PATH,
    SPEECH,
    TEXT,
    WAV,
    Uploader,
    deltas_of,
    form_of,
    head_of,
    is_free,
    uploaded,
    wav_of,
)
from tests.streaming.serving import Served, Talker, serving, text_of, with_limits
from tests.streaming.talk import END, get
from tests.tones import ToneEncoder, english, random_words, speech_of, tone_model

TRANSLATIONS = "/v1/audio/translations"


# What is answered


def test_each_form_of_an_answer_has_all_words(served: Served) -> None:
    told = uploaded(served, WAV).told
    assert told == {"text": TEXT, "usage": {"type": "duration", "seconds": len(SPEECH.samples) / 16_000}}
    assert uploaded(served, WAV, response_format="text").body == f"{TEXT}\n"
    for form, kind in (("srt", "text/plain"), ("vtt", "text/vtt")):
        answer = uploaded(served, WAV, response_format=form)
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        lines = [line for line in answer.body.splitlines() if line and "-->" not in line and not line.isdecimal()]
        assert " ".join(lines).removeprefix("WEBVTT ") == TEXT


def test_times_are_those_that_were_asked_for(served: Served) -> None:
    told = uploaded(served, WAV, response_format="verbose_json", timestamp_granularities=["word", "segment"]).told
    assert (told["task"], told["language"], told["duration"]) == ("transcribe", "english", len(SPEECH.samples) / 16_000)
    assert " ".join(word["word"] for word in told["words"]) == TEXT
    starts = [start / 16_000 for start in SPEECH.starts]
    assert [word["start"] for word in told["words"]] == pytest.approx(starts, abs=0.3)
    assert "".join(segment["text"] for segment in told["segments"]).strip() == TEXT
    assert "words" not in uploaded(served, WAV, response_format="verbose_json").told
    assert (
        "segments" not in uploaded(served, WAV, response_format="verbose_json", timestamp_granularities=["word"]).told
    )


def test_a_translation_is_in_english(served: Served) -> None:
    assert uploaded(served, WAV, TRANSLATIONS).told["text"] == english(SPEECH).text.strip()


@pytest.mark.parametrize(
    ("extension", "codec"), [("flac", "flac"), ("webm", "libopus"), ("ogg", "libopus"), ("mp3", "libmp3lame")]
)
def test_a_recording_has_the_words_that_the_native_protocol_hears(
    served: Served, tmp_path: Path, extension: str, codec: str
) -> None:
    channel = np.repeat(SPEECH.samples, 3).astype(np.float64)
    path = write(tmp_path / f"a.{extension}", codec, sample_format_of(codec), 48_000, [channel])
    data = path.read_bytes()
    with Talker(served) as talker:
        talker.say(client_text(SessionRequest(None)), data, END)
        native = text_of(talker.rest())
    assert native == SPEECH.text
    assert uploaded(served, data).told["text"] == native.strip()
    assert deltas_of(uploaded(served, data, stream="true").body)[0] == native.strip()


def test_a_recording_whose_index_stands_at_its_end_is_heard(served: Served, tmp_path: Path) -> None:
    channel = np.repeat(SPEECH.samples, 3).astype(np.float64)
    path = write(tmp_path / "a.m4a", "aac", sample_format_of("aac"), 48_000, [channel])
    assert uploaded(served, path.read_bytes()).told["text"] == TEXT


def test_words_are_told_while_the_rest_is_being_decoded() -> None:
    may_go_on, n_encoded = threading.Event(), 0

    class Waiting(ToneEncoder):
        def encode(self, mel: Mel) -> Features:
            nonlocal n_encoded
            n_encoded += 1
            if n_encoded > 10:
                may_go_on.wait()
            return super().encode(mel)

    model = replace(tone_model(), encoder=FallbackEncoder(BackendStatus("tones"), Waiting))
    body = form_of(LONG, stream="true")
    with serving(model=model, buffer_s=2.0, late_s=100.0) as served, Uploader(served.port) as uploader:
        uploader.say(head_of(len(body)), body)
        try:
            status, headers = uploader.head()
            first = uploader.piece()
        finally:
            may_go_on.set()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        rest = ""
        while piece := uploader.piece():
            rest += piece
    text, events = deltas_of(first + rest)
    assert text == LONG_SPEECH.text.strip() == events[-1]["text"]
    assert [each["type"] for each in events] == ["transcript.text.delta"] * (len(events) - 1) + ["transcript.text.done"]
    assert len(events) > 20


def test_what_goes_wrong_behind_the_first_words_ends_the_stream_with_an_error() -> None:
    class Broken(ToneEncoder):
        def encode(self, mel: Mel) -> Features:
            if len(mel.columns[0]) and mel.content_frames > 400:
                raise RuntimeError("no more")
            return super().encode(mel)

    model = replace(tone_model(), encoder=FallbackEncoder(BackendStatus("tones"), Broken))
    with serving(model=model) as served:
        lines = uploaded(served, LONG, stream="true").body.split("\n\n")
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
        served.wait_for(lambda: is_free(served))
    assert events[0]["type"] == "transcript.text.delta"
    assert events[-1]["error"]["type"] == "server_error"


def test_real_speech_has_the_words_that_the_native_protocol_hears(tiny: Model) -> None:
    data = (RECORDINGS / "captions.flac").read_bytes()
    config = AlignAttConfig(model_name="tiny.en", padding_len=1.0)
    # However late the audio comes, it is decoded in the same steps.
    with serving(model=tiny, config=config, late_s=1_000.0) as served, Talker(served) as talker:
        talker.say(client_text(SessionRequest(None)), data, END)
        native = text_of(talker.rest())
        assert "somebody is still speaking" in native
        assert uploaded(served, data, stream="false").told["text"] == native.strip()


def test_who_does_not_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = socket.socket()
    # Inherited by its connections: little fits between the two.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening.bind(("127.0.0.1", 0))
    monkeypatch.setattr(socket, "create_connection", _hard_of_hearing)
    body = form_of(wav_of(speech_of(random_words(200))), stream="true", include=["logprobs"])
    with serving(with_limits(slow_reader_s=0.3), listening=listening) as served:
        with Uploader(served.port) as deaf:
            deaf.say(head_of(len(body)), body)
            served.wait_for(lambda: served.registry.errors["slow_reader"])
        served.wait_for(lambda: is_free(served))


def _hard_of_hearing(address: tuple[str, int], *_: object) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(address)
    return made


def test_the_model_has_all_its_names(served: Served) -> None:
    listed = json.loads(get(served, "/v1/models")[1])
    assert listed["object"] == "list"
    names = [each["id"] for each in listed["data"]]
    assert names == ["tones", *ALIASES]
    assert json.loads(get(served, "/v1/models/tones")[1]) == listed["data"][0]
    for name in ("tones", "gpt-4o-transcribe"):
        assert uploaded(served, WAV, model=name).status == 200
    status, body = get(served, "/v1/models/another/one")
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


def test_nothing_is_there_of_a_dialect_that_is_not_spoken() -> None:
    with serving(dialects=Dialects(())) as served:
        assert uploaded(served, WAV).status == 413
        assert get(served, "/v1/models")[0] == 404


# What cannot be had

WRONG: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "no model": ({"model": ""}, 400, "model"),
    "another model": ({"model": "another"}, 404, "model"),
    "another form": ({"response_format": "xml"}, 400, "response_format"),
    "speakers": ({"response_format": "diarized_json"}, 400, "response_format"),
    "names of speakers": ({"known_speaker_names": ["bob"]}, 400, "known_speaker_names"),
    "no language": ({"language": "klingon"}, 400, "language"),
    "a warm one": ({"temperature": "2"}, 400, "temperature"),
    "no number": ({"temperature": "nan"}, 400, "temperature"),
    "perhaps": ({"stream": "perhaps"}, 400, "stream"),
    "a stream of captions": ({"stream": "true", "response_format": "srt"}, 400, "response_format"),
    "times of text": ({"timestamp_granularities": ["word"]}, 400, "timestamp_granularities"),
    "other times": (
        {"timestamp_granularities": ["day"], "response_format": "verbose_json"},
        400,
        "timestamp_granularities",
    ),
    "another detector": ({"chunking_strategy": '{"type": "manual"}'}, 400, "chunking_strategy"),
    "half a detector": ({"chunking_strategy": '{"type'}, 400, "chunking_strategy"),
    "an impossible detector": ({"chunking_strategy": '{"type": "server_vad", "threshold": 3}'}, 400, None),
    "a long prompt": ({"prompt": "a" * 5000}, 400, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_had_is_an_error_in_the_form_of_the_dialect(served: Served, name: str) -> None:
    fields, status, param = WRONG[name]
    answer = uploaded(served, WAV, **fields)
    assert (answer.status, answer.error["param"]) == (status, param)
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("file", [None, b"", b"no audio" * 100, WAV[:44]])
def test_what_is_no_recording_is_an_error(served: Served, file: bytes | None) -> None:
    answer = uploaded(served, file)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    served.wait_for(lambda: is_free(served))


def test_a_token_is_asked_for() -> None:
    token = "a" * 16
    with serving(access=Access(Tokens({"alice": token}))) as served:
        for headers in ("", "Authorization: Bearer wrong\r\n"):
            answer = uploaded(served, WAV, headers=headers)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert get(served, "/v1/models")[0] == 401
        assert uploaded(served, WAV, headers=f"Authorization: Bearer {token}\r\n").status == 200
        assert get(served, "/v1/models", {"Authorization": f"Bearer {token}"})[0] == 200


def test_pages_from_elsewhere_and_other_names_are_refused(served: Served) -> None:
    assert uploaded(served, WAV, headers="Origin: http://evil.example\r\n").status == 403
    body = form_of(WAV)
    with Uploader(served.port) as uploader:
        uploader.say(head_of(len(body)).replace(b"127.0.0.1", b"evil.example"), body)
        assert uploader.answer().status == 421


def test_before_the_model_is_there_it_is_said_so() -> None:
    with serving(is_ready=False) as served:
        assert uploaded(served, WAV).status == 503


def test_a_method_that_is_not_there_is_an_error_in_the_form_of_the_dialect(served: Served) -> None:
    status, body = get(served, PATH)
    assert (status, json.loads(body)["error"]["code"]) == (405, "method_not_allowed")
