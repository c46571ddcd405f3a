"""Recordings that are uploaded to a real server: what is answered, and what becomes of bodies that are none."""

import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simul_whisper import AlignAttConfig, Model
from simul_whisper.encoders import Features
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.fallback import BackendStatus
from simul_whisper.mel import Mel
from streaming.protocols.native import client_text
from streaming.server.access import Access
from streaming.server.dialects import ALIASES, Dialects
from streaming.server.tls import Tls
from streaming.server.tokens import Tokens
from streaming.sessions.request import SessionRequest
from tests.conftest import RECORDINGS
from tests.dialects.openai_rest import OpenAiRestSpeaker
from tests.streaming.audio.test_files import sample_format_of, write
from tests.streaming.server.test_edge import logged
from tests.streaming.server.uploading import (
    BOUNDARY,
    PATH,
    Uploader,
    chunked,
    deltas_of,
    form_of,
    head_of,
    uploaded,
    wav_of,
)
from tests.streaming.serving import Served, Talker, s16, serving, text_of, with_limits
from tests.streaming.talk import END, get
from tests.tones import ToneEncoder, english, random_words, speech_of, tone_model

SPEECH = speech_of(random_words(20, 1))
TEXT = SPEECH.text.strip()
WAV = wav_of(SPEECH)
TRANSLATIONS = "/v1/audio/translations"
LONG_SPEECH = speech_of(random_words(100, 2))
LONG = wav_of(LONG_SPEECH)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def is_free(served: Served) -> bool:
    """Whether nothing is left of any upload."""
    return not served.count("sessions_open") and served.registry.n_connections == 0


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


@settings(derandomize=True, max_examples=8, deadline=None)
@given(n_words=st.integers(1, 9), sizes=st.lists(st.sampled_from((1, 3, 997, 40_000)), max_size=9))
def test_a_form_may_be_cut_anywhere(served: Served, n_words: int, sizes: list[int]) -> None:
    speech = speech_of(random_words(n_words))
    assert OpenAiRestSpeaker().transcript(served, s16(speech.samples), pieces=sizes) == speech.text


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


# Bodies


def test_a_body_may_come_in_any_pieces(served: Served) -> None:
    body = form_of(WAV)
    for size in (200, 100_000, len(body)):
        with Uploader(served.port) as uploader:
            uploader.say(head_of(None), chunked(body, size))
            assert uploader.answer().told["text"] == TEXT
    with Uploader(served.port) as uploader:
        uploader.say(head_of(len(body)), *(body[at : at + 17] for at in range(0, 1_700, 17)), body[1_700:])
        assert uploader.answer().told["text"] == TEXT


def test_a_body_in_far_too_many_chunks_is_refused_before_it_costs_others_time(served: Served) -> None:
    with Uploader(served.port) as uploader:
        uploader.say(head_of(None), chunked(form_of(bytes(2_000)), 1))
        assert (uploader.answer().body, uploader.socket.recv(1)) == ("bad request\n", b"")
    # Whoever is slow, and sends what little there is, may do so for a while.
    with Uploader(served.port) as uploader:
        uploader.say(head_of(None), *(chunked(form_of(WAV)[:400], 1)[:-5], chunked(form_of(WAV)[400:], 60_000)))
        assert uploader.answer().told["text"] == TEXT


def test_who_waits_to_be_asked_for_the_body_is_asked_once_all_else_is_well(served: Served) -> None:
    body, waiting = form_of(WAV), "Expect: 100-continue\r\n"
    with Uploader(served.port) as uploader:
        uploader.say(head_of(len(body), headers=waiting))
        assert uploader.head()[0] == 100
        uploader.say(body)
        assert uploader.answer().told["text"] == TEXT
    for length, headers, status in ((1 << 40, "", 413), (len(body), "Origin: http://evil.example\r\n", 403)):
        with Uploader(served.port) as uploader:
            uploader.say(head_of(length, headers=waiting + headers))
            assert uploader.answer().status == status
            # Nothing follows, and nobody waits for it.
            assert uploader.socket.recv(1) == b""


def test_requests_that_come_behind_each_other_are_answered_in_order(served: Served) -> None:
    body = form_of(WAV)
    with Uploader(served.port) as uploader:
        model = b"GET /v1/models/tones HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        uploader.say((head_of(len(body)) + body) * 2 + model)
        assert [uploader.answer().told.get("text") for _ in range(3)] == [TEXT, TEXT, None]
        uploader.say(head_of(len(body)), body)
        assert uploader.answer().told["text"] == TEXT


@pytest.mark.parametrize("size", [None, 4_000_000])
def test_a_recording_that_is_too_large_is_refused(size: int | None) -> None:
    body = form_of(bytes(4_000_000))
    with serving(with_limits(max_upload=1_000_000)) as served, Uploader(served.port) as uploader:
        uploader.say(head_of(size and len(body)), body if size else chunked(body, 60_000))
        answer = uploader.answer()
        assert (answer.status, answer.error["type"]) == (413, "invalid_request_error")
        assert "1000000 bytes" in answer.error["message"]
        assert uploaded(served, WAV).status == 200


def test_fields_are_no_way_to_bring_more(served: Served) -> None:
    assert uploaded(served, WAV, prompt="a" * 70_000).status == 413
    assert uploaded(served, WAV, keywords=["a"] * 300).status == 400


def test_a_body_that_does_not_come_is_ended() -> None:
    body = form_of(WAV)
    with serving(with_limits(upload_s=0.2)) as served:
        for said in (b"", body[:1000]):
            with Uploader(served.port) as uploader:
                uploader.say(head_of(len(body)), said)
                answer = uploader.answer()
                assert (answer.status, answer.error["type"]) == (408, "invalid_request_error")
                assert uploader.socket.recv(1) == b""
        served.wait_for(lambda: is_free(served))


def test_who_uploads_while_the_server_stops_is_told_so() -> None:
    body = form_of(WAV)
    with ExitStack() as uploads, logged() as records:
        with serving() as served:
            waiting = uploads.enter_context(Uploader(served.port))
            waiting.say(head_of(len(body)), body[:1_000])
            served.wait_for(lambda: served.registry.n_connections == 1)
        answer = waiting.answer()
    assert (answer.status, answer.error["message"][:27]) == (503, "the server is being stopped")
    assert not records


def test_who_goes_leaves_nothing_behind() -> None:
    may_go_on = threading.Event()

    class Waiting(ToneEncoder):
        def encode(self, mel: Mel) -> Features:
            may_go_on.wait()
            return super().encode(mel)

    body = form_of(LONG, stream="true")
    model = replace(tone_model(), encoder=FallbackEncoder(BackendStatus("tones"), Waiting))
    may_go_on.set()
    with serving(with_limits(uploads_per_address=1, max_connections=1), model=model) as served:
        with Uploader(served.port) as uploader:
            uploader.say(head_of(len(body)), body[:10_000])
            served.wait_for(lambda: served.registry.n_connections == 1)
        served.wait_for(lambda: is_free(served))
        may_go_on.clear()
        with Uploader(served.port) as uploader:
            uploader.say(head_of(len(body)), body)
            served.wait_for(lambda: served.count("sessions_open"))
            assert uploaded(served, WAV).status == 429
        served.wait_for(lambda: served.registry.n_connections == 0)
        may_go_on.set()
        served.wait_for(lambda: is_free(served))
        assert uploaded(served, WAV).told["text"] == TEXT


@pytest.mark.parametrize("limits", [{"max_uploads": 2}, {"uploads_per_address": 2}, {"max_connections": 2}])
def test_so_many_upload_at_a_time(limits: dict[str, int]) -> None:
    with serving(with_limits(**limits)) as served, ExitStack() as stack:
        waiting = [stack.enter_context(Uploader(served.port)) for _ in range(2)]
        body = form_of(WAV)
        for uploader in waiting:
            uploader.say(head_of(len(body)), body[:-10])
        served.wait_for(lambda: served.registry.n_connections == 2)
        answer = uploaded(served, WAV)
        assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
        for uploader in waiting:
            uploader.say(body[-10:])
            assert uploader.answer().told["text"] == TEXT
        served.wait_for(lambda: served.registry.n_connections == 0)
        assert uploaded(served, WAV).status == 200


def test_no_file_is_written(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert uploaded(served, LONG).status == 200
    with pytest.raises(FileNotFoundError):
        tempfile.mkstemp()


REFUSED = {
    "elsewhere": head_of(5, "/v1/audio/elsewhere") + b"hello",
    "another method": head_of(5, method="PUT") + b"hello",
    "names of models": head_of(5, "/v1/models") + b"hello",
    "a handshake": head_of(5, headers="Connection: Upgrade\r\nUpgrade: websocket\r\n") + b"hello",
    "two lengths": head_of(5, headers="Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    "no length of a chunk": head_of(None) + b"five\r\nhello",
    "an endless chunk": head_of(None) + b"f" * 30 + b"\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_bodies_are_refused_as_ever(served: Served, name: str) -> None:
    with logged() as records, Uploader(served.port) as uploader:
        uploader.say(REFUSED[name])
        assert uploader.answer().status in (400, 413)
        assert uploader.socket.recv(1) == b""
        served.wait_for(lambda: is_free(served))
    assert not records


def test_an_upload_may_be_encrypted(certificate: tuple[str, str]) -> None:
    body = form_of(WAV)
    with serving(tls=Tls(*certificate)) as served, Uploader(served.port) as uploader:
        plain = uploader.socket
        uploader.socket = ssl.create_default_context(cafile=certificate[0]).wrap_socket(
            plain, server_hostname="127.0.0.1"
        )
        uploader._read = uploader.socket.makefile("rb")
        uploader.say(head_of(len(body)), body)
        assert uploader.answer().told["text"] == TEXT


PARTS = st.lists(
    st.sampled_from(
        [
            f"--{BOUNDARY}\r\n".encode(),
            f"--{BOUNDARY}--\r\n".encode(),
            b'Content-Disposition: form-data; name="file"\r\n\r\n',
            b'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1',
            b"Content-Disposition: form-data\r\n\r\n",
            b"\r\n",
            WAV[:2000],
        ]
    )
    | st.binary(max_size=60),
    max_size=12,
)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(parts=PARTS)
@example(parts=[form_of(WAV)[:-1]])
@example(parts=[form_of(b"")])
def test_any_body_gets_an_answer_in_the_form_of_the_dialect(served: Served, parts: list[bytes]) -> None:
    body = b"".join(parts)
    with logged() as records, Uploader(served.port) as uploader:
        uploader.say(head_of(len(body)), body)
        answer = uploader.answer()
    assert answer.status in (200, 400, 404)
    assert answer.status == 200 or answer.error["type"] == "invalid_request_error"
    assert not records
