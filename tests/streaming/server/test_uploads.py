"""The bodies of uploads to a real server: in which pieces they come, how many and how large; and what is none."""

import ssl
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simul_whisper.encoders import Features
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.fallback import BackendStatus
from simul_whisper.mel import Mel
from streaming.server.tls import Tls
from tests.dialects.openai_rest import OpenAiRestSpeaker
from tests.streaming.server.test_edge import logged
from tests.streaming.server.uploading import (
    BOUNDARY,
    LONG,
    TEXT,
    WAV,
    Uploader,
    chunked,
    form_of,
    head_of,
    is_free,
    uploaded,
)
from tests.streaming.serving import Served, s16, serving, with_limits
from tests.tones import ToneEncoder, random_words, speech_of, tone_model


def test_a_body_may_come_in_any_pieces(served: Served) -> None:
    body = form_of(WAV)
    for size in (200, 100_000, len(body)):
        with Uploader(served.port) as uploader:
            uploader.say(head_of(None), chunked(body, size))
            assert uploader.answer().told["text"] == TEXT
    with Uploader(served.port) as uploader:
        uploader.say(head_of(len(body)), *(body[at : at + 17] for at in range(0, 1_700, 17)), body[1_700:])
        assert uploader.answer().told["text"] == TEXT


@settings(derandomize=True, max_examples=8, deadline=None)
@given(n_words=st.integers(1, 9), sizes=st.lists(st.sampled_from((1, 3, 997, 40_000)), max_size=9))
def test_a_form_may_be_cut_anywhere(served: Served, n_words: int, sizes: list[int]) -> None:
    speech = speech_of(random_words(n_words))
    assert OpenAiRestSpeaker().transcript(served, s16(speech.samples), pieces=sizes) == speech.text


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
