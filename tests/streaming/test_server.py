"""A real server over real sockets: sessions, who is let in, limits, health, counts, resuming, endings."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from simul_whisper import AlignAttConfig, ConfigError, Model
from streaming.events import Draft, Ended, Failed, Flushed, Words
from streaming.protocol import End, Flush, Hello, Numbered, Received, Refused, Resume, client_text
from streaming.server.access import Access
from streaming.server.limits import Limits, Turnstile
from streaming.server.run import Server, Tls, bound_socket
from streaming.session import Session
from tests.conftest import Recording
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, Served, Talker, s16, serving, text_of, with_limits
from tests.tones import random_words, speech_of, tone_model

HELLO, END, FLUSH = client_text(Hello()), client_text(End()), client_text(Flush())
SPEECH = speech_of(random_words(20, 1))
AUDIO = s16(SPEECH.samples)
PIECES = [AUDIO[at : at + 4001] for at in range(0, len(AUDIO), 4001)]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def told(served: Served, *messages: str | bytes) -> tuple[list[Any], int | None]:
    """Say this in a new connection; return all that comes, and the close code."""
    with Talker(served) as talker:
        talker.say(*messages)
        return talker.rest(), talker.close_code


# Sessions


def test_a_session_over_the_wire_says_what_it_says_without_one(served: Served) -> None:
    messages, code = told(served, HELLO, *PIECES, END)
    session = Session(CONFIG, tone_model(), OFF)
    expected = session.feed(SPEECH.samples) + session.end()
    assert text_of(messages) == SPEECH.text
    assert [event.text for event in expected if isinstance(event, Words)] == [
        each.event.text for each in messages if isinstance(each.event, Words)
    ]
    assert messages[-1].event == expected[-1]
    assert [each.seq for each in messages] == [*range(1, len(messages) + 1)]
    assert code == 1000


def test_many_words_with_real_weights(tiny: Model, captions: Recording) -> None:
    config = AlignAttConfig(model_name="tiny.en", padding_len=1.0)
    session = Session(config, tiny)
    expected = "".join(each.text for each in session.feed(captions.samples) + session.end() if isinstance(each, Words))
    with serving(model=tiny, config=config, voice=replace(OFF, vad=True)) as served:
        messages, _ = told(served, HELLO, s16(captions.samples), END)
    assert text_of(messages) == expected


def test_any_encoding_rate_and_channels(served: Served) -> None:
    stereo = np.repeat(SPEECH.samples, 2).astype("<f4").tobytes()
    hello = '{"type": "hello", "version": 1, "format": {"encoding": "f32le", "channels": 2}}'
    messages, _ = told(served, hello, stereo[:10_001], stereo[10_001:900_000], stereo[900_000:], END)
    assert text_of(messages) == SPEECH.text


def test_a_container_is_decoded_as_it_comes(served: Served, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "speech.flac", SPEECH.samples, 16_000)
    data = (tmp_path / "speech.flac").read_bytes()
    messages, _ = told(
        served, client_text(Hello(None)), *(data[at : at + 9999] for at in range(0, len(data), 9999)), END
    )
    assert text_of(messages) == SPEECH.text


def test_drafts_are_told_only_if_asked_for(served: Served) -> None:
    slow = {"hold_probability": 1.0}
    with_drafts, _ = told(served, client_text(Hello(engine=slow)), AUDIO, END)
    without, _ = told(served, client_text(Hello(engine=slow, drafts=False)), AUDIO, END)
    assert any(isinstance(each.event, Draft) for each in with_drafts)
    assert not any(isinstance(each.event, Draft) for each in without)


def test_a_flush_is_answered_and_the_session_goes_on(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(HELLO)
        talker.ready()
        talker.say(AUDIO, FLUSH)
        first = list[Any]()
        while not (first and isinstance(first[-1].event, Flushed)):
            message = talker.next()
            first += [message] if isinstance(message, Numbered) else []
        assert text_of(first) == SPEECH.text
        talker.say(AUDIO, END)
        assert text_of(talker.rest()) == SPEECH.text


def test_what_was_received_is_told(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(HELLO, AUDIO)
        talker.ready()
        message = talker.next()
        while not isinstance(message, Received):
            message = talker.next()
        assert message == Received(len(AUDIO))


def test_what_only_the_model_can_refuse_is_the_last_event(served: Served) -> None:
    messages, code = told(served, client_text(Hello(engine={"language": "klingon"})), AUDIO, END)
    assert messages[-1].event.code == "config"
    assert code == 1008


# Who is let in


@pytest.mark.parametrize(
    ("headers", "query", "is_in"),
    [
        ({"Authorization": "Bearer se cret"}, "", True),
        ({"Authorization": "bearer se cret"}, "", True),
        ({}, "?token=se%20cret", True),
        ({}, "", False),
        ({}, "?token=", False),
        ({"Authorization": "Bearer secret"}, "?token=se%20cret", False),
        ({"Authorization": "Basic se cret"}, "", False),
    ],
)
def test_the_token_opens_the_door(headers: dict[str, str], query: str, is_in: bool) -> None:
    with serving(access=Access("se cret")) as served:
        served.url += query
        with Talker(served, additional_headers=headers) as talker:
            talker.say(HELLO, END)
            (last,) = talker.rest()
        code = "ended" if isinstance(last, Numbered) else last.code
        assert (code, talker.close_code) == (("ended", 1000) if is_in else ("unauthorized", 1008))
        request = urllib.request.Request(f"http://127.0.0.1:{served.port}/metrics{query}", headers=headers)
        assert _status(request) == (200 if is_in else 401)
        assert _status(urllib.request.Request(f"http://127.0.0.1:{served.port}/health")) == 200


def _status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize(
    ("access", "origin", "host", "is_allowed"),
    [
        (Access(), None, "127.0.0.1:8000", True),
        (Access(), "http://127.0.0.1:8000", "127.0.0.1:8000", True),
        (Access(), "http://localhost:8000", "localhost:8000", True),
        (Access(), "http://[::1]:8000", "[::1]:8000", True),
        (Access(), "http://127.0.0.1:9000", "127.0.0.1:8000", False),
        (Access(), "http://evil.example:8000", "127.0.0.1:8000", False),
        (Access(), "http://evil.example:8000", "evil.example:8000", False),
        (Access(), "null", "127.0.0.1:8000", False),
        (Access(), "http://[", "[", False),
        (Access(is_local=False), "https://talks.example", "talks.example", True),
        (Access(is_local=False), "https://evil.example", "talks.example", False),
        (Access(origins=("https://a.example",)), "https://a.example", "127.0.0.1:8000", True),
        (Access(origins=("https://a.example",)), "https://b.example", "127.0.0.1:8000", False),
        (Access(origins=("*",)), "https://b.example", "127.0.0.1:8000", True),
    ],
)
def test_pages_from_elsewhere_are_kept_out(access: Access, origin: str | None, host: str, is_allowed: bool) -> None:
    headers = {"host": host} | ({"origin": origin} if origin else {})
    assert access.allows_origin(headers) is is_allowed


def test_a_page_from_elsewhere_is_told_so(served: Served) -> None:
    with Talker(served, origin="http://evil.example") as talker:
        assert [each.code for each in talker.rest() if isinstance(each, Refused)] == ["origin"]
        assert talker.close_code == 1008


# Limits


def test_an_address_may_come_only_so_often() -> None:
    now_s = 0.0
    turnstile = Turnstile(3, lambda: now_s)
    assert [turnstile.lets_through("a") for _ in range(5)] == [True, True, True, False, False]
    assert turnstile.lets_through("b")
    now_s = 20.0
    assert [turnstile.lets_through("a") for _ in range(2)] == [True, False]


def test_too_many_connections_are_told_to_wait() -> None:
    with serving(with_limits(connections_per_minute=2)) as served:
        assert [told(served, HELLO, END)[1] for _ in range(3)] == [1000, 1000, 1013]


def test_more_sessions_than_allowed_are_refused_and_a_place_is_free_again() -> None:
    with serving(with_limits(max_sessions=1)) as served:
        with Talker(served) as first:
            first.say(HELLO)
            first.ready()
            messages, code = told(served, HELLO)
            assert ([each.code for each in messages], code) == (["too_many_sessions"], 1013)
            first.say(AUDIO, END)
            assert text_of(first.rest()) == SPEECH.text
        served.wait_for(lambda: not served.metrics().sessions_open)
        assert told(served, HELLO, END)[1] == 1000


def test_a_client_that_leaves_frees_its_place_at_once() -> None:
    with serving(with_limits(max_sessions=1)) as served:
        with Talker(served) as first:
            first.say(HELLO)
            first.ready()
        served.wait_for(lambda: not served.metrics().sessions_open)
        assert told(served, HELLO, END)[1] == 1000


def test_a_client_that_vanishes_frees_its_place_when_it_may_not_come_back_any_more() -> None:
    with serving(with_limits(max_sessions=1, resume_s=0.2)) as served:
        with Talker(served) as first:
            first.say(HELLO, AUDIO)
            first.ready()
            first.cut()
        served.wait_for(lambda: not served.metrics().sessions_open)
        assert told(served, HELLO, END)[1] == 1000


def test_silence_on_the_line_ends_the_session_with_its_words() -> None:
    with serving(with_limits(idle_s=0.5)) as served:
        messages, code = told(served, HELLO, AUDIO)
    assert text_of(messages) == SPEECH.text
    assert messages[-1].event.code == "idle"
    assert code == 1008


def test_a_session_ends_when_its_time_is_over() -> None:
    with serving(with_limits(total_s=1.0)) as served, Talker(served) as talker:
        talker.say(HELLO, AUDIO)
        messages = talker.rest()
    assert text_of(messages) == SPEECH.text
    assert isinstance(messages[-1], Numbered)
    assert isinstance(messages[-1].event, Failed)
    assert messages[-1].event.code == "too_long"


def test_who_says_nothing_is_not_waited_for() -> None:
    with serving(with_limits(hello_s=0.2)) as served:
        messages, code = told(served)
    assert ([each.code for each in messages], code) == (["hello_expected"], 1008)


def test_audio_that_comes_too_fast_waits_and_is_all_heard(served: Served) -> None:
    long = speech_of(random_words(200, 3))
    messages, _ = told(served, HELLO, *(s16(piece) for piece in np.array_split(long.samples, 20)), END)
    assert text_of(messages) == long.text


@pytest.mark.parametrize("bad", [{"max_sessions": 0}, {"idle_s": float("nan")}, {"port": 1}, {"resume_s": -1}])
def test_impossible_limits_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, TypeError)):
        Limits(**bad)


# Coming back


def resumed(served: Served, session: str, sent_bytes: int, seen: int) -> Talker:
    talker = Talker(served).__enter__()
    talker.say(client_text(Resume(session, sent_bytes, seen)))
    return talker


@pytest.mark.parametrize("n_pieces_first", [1, 30, len(PIECES)])
def test_a_cut_connection_comes_back_and_gets_every_event_once(served: Served, n_pieces_first: int) -> None:
    with Talker(served) as first:
        first.say(HELLO)
        session = first.ready().session
        first.say(*PIECES[:n_pieces_first])
        events = list[Any]()
        while n_pieces_first >= 30 and not events:
            message = first.next()
            events += [message] if isinstance(message, Numbered) else []
        first.cut()
    sent = len(b"".join(PIECES[:n_pieces_first]))
    with resumed(served, session, sent, len(events)) as second:
        ready = second.ready()
        assert ready.session == session
        second.say(AUDIO[ready.received_bytes :], END)
        events += second.rest()
    assert [each.seq for each in events] == [*range(1, len(events) + 1)]
    assert text_of(events) == SPEECH.text
    assert isinstance(events[-1].event, Ended)


def test_the_last_events_can_be_had_again(served: Served) -> None:
    with Talker(served) as first:
        first.say(HELLO)
        session = first.ready().session
        first.say(AUDIO, END)
        messages = first.rest()
    for seen in (0, 5, len(messages)):
        with resumed(served, session, len(AUDIO), seen) as again:
            assert again.ready().has_end
            assert again.rest() == messages[seen:]
            assert again.close_code == 1000


def test_a_connection_that_hangs_is_replaced(served: Served) -> None:
    with Talker(served) as first:
        first.say(HELLO)
        session = first.ready().session
        with resumed(served, session, 0, 0) as second:
            second.ready()
            assert [each.code for each in first.rest() if isinstance(each, Refused)] == ["replaced"]
            second.say(AUDIO, END)
            assert text_of(second.rest()) == SPEECH.text


def test_what_cannot_be_come_back_to_is_told(served: Served) -> None:
    def refusal(session: str, sent_bytes: int, seen: int) -> str:
        with resumed(served, session, sent_bytes, seen) as talker:
            (refused,) = talker.rest()
            assert isinstance(refused, Refused)
            return refused.code

    with Talker(served) as first:
        first.say(HELLO)
        session = first.ready().session
        first.say(AUDIO, END)
        messages = first.rest()
    n = len(messages)
    assert refusal("nobody", 0, 0) == "unknown_session"
    assert refusal(session, 5, n) == "bad_value"
    assert refusal(session, len(AUDIO), n + 1) == "bad_value"
    with resumed(served, session, len(AUDIO), 0) as again:
        again.ready()
        again.rest()
    with Talker(served) as other:
        other.say(HELLO, AUDIO, FLUSH)
        other_session = other.ready().session
        while not (isinstance(message := other.next(), Numbered) and isinstance(message.event, Flushed)):
            pass
        other.say('{"type": "ack", "seen": 2}', END)
        other.rest()
    assert refusal(other_session, len(AUDIO), 1) == "resume_gap"


# Health, counts, endings


def get(served: Served, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_tells_ready_from_alive(served: Served) -> None:
    status, text = get(served, "/health")
    assert status == 200
    assert json.loads(text) == {"live": True, "ready": True, "state": "ready", "busy_s": 0.0, "message": ""}
    with serving(is_ready=False) as loading:
        status, text = get(loading, "/health")
        assert (status, json.loads(text)["ready"], json.loads(text)["state"]) == (503, False, "loading")
        messages, code = told(loading, HELLO)
        assert ([each.code for each in messages], code) == (["not_ready"], 1013)


def test_the_page_of_counts_adds_up() -> None:
    with serving() as served:
        told(served, HELLO, AUDIO, END)
        told(served, "nonsense")
        served.wait_for(lambda: served.house.n_connections == 0)
        families = {family.name: family for family in text_string_to_metric_families(get(served, "/metrics")[1])}
    values = {sample.name: sample.value for family in families.values() for sample in family.samples}
    assert values["simul_whisper_sessions_opened_total"] == 1
    assert values["simul_whisper_sessions_open"] == values["simul_whisper_connections_open"] == 0
    assert values["simul_whisper_audio_seconds_total"] == pytest.approx(len(SPEECH.samples) / 16_000)
    assert values["simul_whisper_words_total"] == len(SPEECH.words)
    assert values["simul_whisper_word_delay_seconds_count"] == len(SPEECH.words)
    assert values["simul_whisper_ready"] == 1
    assert [(each.labels, each.value) for each in families["simul_whisper_errors"].samples] == [
        ({"code": "bad_json"}, 1)
    ]
    for name in ("queue_delay", "inference", "decoder_step", "word_delay"):
        samples = families[f"simul_whisper_{name}_seconds"].samples
        counts = [sample.value for sample in samples if sample.name.endswith("_bucket")]
        assert counts == sorted(counts)
        assert counts[-1] == next(sample.value for sample in samples if sample.name.endswith("_count"))


def test_a_server_that_stops_lets_sessions_finish_and_refuses_new_ones() -> None:
    with serving(with_limits(drain_s=PATIENCE_S)) as served, Talker(served) as talker:
        talker.say(HELLO)
        talker.ready()
        stopper = threading.Thread(target=served.stop)
        stopper.start()
        served.wait_for(lambda: served.house.is_stopping)
        messages, code = told(served, HELLO)
        assert ([each.code for each in messages], code) == (["stopping"], 1012)
        talker.say(AUDIO, END)
        assert text_of(talker.rest()) == SPEECH.text
        assert talker.close_code == 1000
        stopper.join(PATIENCE_S)


def test_sessions_that_do_not_finish_are_ended_with_their_words() -> None:
    with serving(with_limits(drain_s=0)) as served, Talker(served) as talker:
        talker.say(HELLO)
        talker.ready()
        talker.say(AUDIO, FLUSH)
        messages = list[Any]()
        while not (messages and isinstance(messages[-1].event, Flushed)):
            messages += [message] if isinstance(message := talker.next(), Numbered) else []
        served.stop()
        last = talker.rest()[-1]
    assert text_of(messages) == SPEECH.text
    assert last == Numbered(len(messages) + 1, Failed("stopping", "the server is being stopped"))
    assert talker.close_code == 1012


def test_a_bad_address_or_certificate_is_an_error(served: Served, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        bound_socket("127.0.0.1", served.port)
    with pytest.raises(ConfigError, match="cannot listen"):
        bound_socket("127.0.0.1", 99_999)
    bad = tmp_path / "cert.pem"
    bad.write_text("nothing")
    for path in (bad, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match="TLS"):
            Server(served.house, tls=Tls(str(path)))


def test_it_listens_on_this_machine_only_unless_told() -> None:
    listening = bound_socket("127.0.0.1", 0)
    with listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert listening.family is socket.AF_INET
