"""A real server over real sockets: sessions, health, counts, endings."""

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from simul_whisper import AlignAttConfig, ConfigError, Model
from streaming.events import Draft, Failed, Flushed, Reason, Words
from streaming.protocols.native import Numbered, Received, Refused, ServerMessage, client_text
from streaming.server.connection import Connection
from streaming.server.run import Server, bound_socket
from streaming.server.tls import Tls
from streaming.server.wire import Gone
from streaming.sessions.request import SessionRequest
from streaming.sessions.session import Session
from tests.conftest import Recording
from tests.streaming.serving import CONFIG, OFF, PATIENCE_S, Served, Talker, s16, serving, text_of, with_limits
from tests.streaming.talk import AUDIO, END, FLUSH, HELLO, PIECES, SPEECH, get, told
from tests.streaming.working import ended
from tests.tones import tone_model

# Sessions


def test_a_session_over_the_wire_says_what_it_says_without_one(served: Served) -> None:
    messages, code = told(served, HELLO, *PIECES, END)
    session = Session(CONFIG, tone_model(), OFF)
    expected = session.feed(SPEECH.samples) + session.end()
    assert text_of(messages) == SPEECH.text
    assert [event.text for event in expected if isinstance(event, Words)] == [
        each.event.text for each in messages if isinstance(each.event, Words)
    ]
    assert [each.event for each in messages[-2:]] == ended(expected[-1:])
    assert [each.seq for each in messages] == [*range(1, len(messages) + 1)]
    assert code == 1000


def test_many_words_with_real_weights(tiny: Model, captions: Recording) -> None:
    config = AlignAttConfig(model_name="tiny.en", padding_len=1.0)
    session = Session(config, tiny)
    expected = "".join(each.text for each in session.feed(captions.samples) + session.end() if isinstance(each, Words))
    # Late audio is decoded in one go, and all of it comes at once here.
    with serving(model=tiny, config=config, voice=replace(OFF, vad=True), late_s=1_000.0) as served:
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
        served, client_text(SessionRequest(None)), *(data[at : at + 9999] for at in range(0, len(data), 9999)), END
    )
    assert text_of(messages) == SPEECH.text


def test_drafts_are_told_only_if_asked_for(served: Served) -> None:
    slow = {"hold_probability": 1.0}
    with_drafts, _ = told(served, client_text(SessionRequest(engine=slow)), AUDIO, END)
    without, _ = told(served, client_text(SessionRequest(engine=slow, drafts=False)), AUDIO, END)
    assert any(isinstance(each.event, Draft) for each in with_drafts)
    assert not any(isinstance(each.event, Draft) for each in without)


def test_who_leaves_while_something_is_sent_has_left_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent then fails, before it is read that the client has closed the connection."""
    send = Connection._send

    async def too_late(connection: Connection, message: ServerMessage) -> None:
        if isinstance(message, Numbered):
            raise Gone(is_for_good=False)
        await send(connection, message)

    monkeypatch.setattr(Connection, "_send", too_late)
    monkeypatch.setattr("streaming.server.connection._FAREWELL_S", PATIENCE_S)
    with serving() as served:
        with Talker(served) as talker:
            talker.say(HELLO)
            assert talker.ready()
            talker.say(AUDIO)
        served.wait_for(lambda: not served.registry.n_connections)
        assert not served.registry.n_away


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
    messages, code = told(served, client_text(SessionRequest(engine={"language": "yue"})), AUDIO, END)
    assert messages[-1].event.reason.value == "config"
    assert code == 1008


def test_what_only_the_server_makes_impossible_is_refused_by_name() -> None:
    with serving(config=replace(CONFIG, audio_max_len=5.0)) as served:
        messages, code = told(served, client_text(SessionRequest(engine={"segment_length": 3.0})))
    (refused,) = messages
    assert isinstance(refused, Refused)
    assert (refused.reason.value, code) == ("config", 1008)
    assert "segment_length" in refused.message


# Health, counts, endings


def test_health_tells_ready_from_alive(served: Served) -> None:
    # Of what another test has said, which may still be heard.
    served.wait_for(lambda: not served.registry.pool.health().busy_s)
    status, text = get(served, "/health")
    assert status == 200
    assert json.loads(text) == {
        "live": True,
        "ready": True,
        "state": "ready",
        "busy_s": 0.0,
        "message": "",
        "places": None,
    }
    with serving(is_ready=False) as loading:
        status, text = get(loading, "/health")
        assert (status, json.loads(text)["ready"], json.loads(text)["state"]) == (503, False, "loading")
        messages, code = told(loading, HELLO)
        assert ([each.reason.value for each in messages], code) == (["not_ready"], 1013)


def test_the_model_tells_what_it_can_be_asked_for(served: Served) -> None:
    status, text = get(served, "/v1/model")
    told = json.loads(text)
    named = {each["code"]: each["name"] for each in told.pop("languages")}
    assert status == 200
    assert told.pop("targets") == [{"code": "en", "name": "English"}]
    assert told == {
        "name": "tones",
        "tasks": ["transcribe", "translate"],
        "language": "en",
        "task": "transcribe",
        "first_targets": [],
        "most_targets": 4,
        "translator": "",
        "voices": [],
        "most_speech": 1,
    }
    assert list(named) == list(tone_model().tokenizer.languages)
    assert (named["de"], named["ba"], named["jw"]) == ("German", "Bashkir", "Javanese")
    assert not [code for code, name in named.items() if name in (code, "")]
    with serving(model=tone_model(name="tiny.en")) as english:
        told = json.loads(get(english, "/v1/model")[1])
    assert (told["languages"], told["tasks"]) == ([{"code": "en", "name": "English"}], ["transcribe"])
    with serving(is_ready=False) as loading:
        assert get(loading, "/v1/model") == (503, '{"message":"the model is loading"}')


def test_the_page_of_counts_adds_up() -> None:
    with serving() as served:
        told(served, HELLO, AUDIO, END)
        told(served, "nonsense")
        served.wait_for(lambda: served.registry.n_connections == 0)
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
        served.wait_for(lambda: served.registry.is_stopping)
        messages, code = told(served, HELLO)
        assert ([each.reason.value for each in messages], code) == (["stopping"], 1012)
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
    assert last == Numbered(len(messages) + 2, Failed(Reason.STOPPING, "the server is being stopped"))
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
            Server(served.registry, tls=Tls(str(path)))


def test_it_listens_on_this_machine_only_unless_told() -> None:
    listening = bound_socket("127.0.0.1", 0)
    with listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert listening.family is socket.AF_INET
