"""Limits of a real server: connections, sessions, waiting, and how long each may last."""

import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from simul_whisper import ConfigError
from streaming.events import Failed
from streaming.protocols.native import Numbered, Refused
from streaming.server.limits import Limits, RateLimiter
from streaming.sessions.admission import LEAST_WAIT_S
from tests.streaming.serving import PATIENCE_S, Served, Talker, s16, serving, text_of, with_limits
from tests.streaming.talk import AUDIO, END, HELLO, SPEECH, told
from tests.tones import random_words, speech_of


def test_an_address_may_come_only_so_often() -> None:
    now_s = 0.0
    rate_limiter = RateLimiter(3, lambda: now_s)
    assert [rate_limiter.lets_through("a") for _ in range(5)] == [True, True, True, False, False]
    assert rate_limiter.lets_through("b")
    now_s = 20.0
    assert [rate_limiter.lets_through("a") for _ in range(2)] == [True, False]


def test_too_many_connections_are_told_to_wait() -> None:
    with serving(with_limits(connections_per_minute=2)) as served:
        assert [told(served, HELLO, END)[1] for _ in range(3)] == [1000, 1000, 1013]


@pytest.mark.parametrize("limits", [with_limits(), with_limits(sessions_per_address=1)])
def test_more_sessions_than_allowed_are_refused_and_a_place_is_free_again(limits: Limits) -> None:
    with serving(limits, max_sessions=1 if limits.sessions_per_address > 1 else 16) as served:
        with Talker(served) as first:
            first.say(HELLO)
            first.ready()
            messages, code = told(served, HELLO)
            assert ([each.reason.value for each in messages], code) == (["too_many_sessions"], 1013)
            first.say(AUDIO, END)
            assert text_of(first.rest()) == SPEECH.text
        served.wait_for(lambda: not served.count("sessions_open"))
        assert told(served, HELLO, END)[1] == 1000


def test_who_finds_no_place_is_told_when_to_come_back() -> None:
    with serving(max_sessions=1) as served, Talker(served) as first:
        first.say(HELLO)
        first.ready()
        (refused,), _ = told(served, HELLO)
        assert isinstance(refused, Refused)
        assert refused.retry_after_s
        assert refused.retry_after_s >= LEAST_WAIT_S
        http = f"http://127.0.0.1:{served.port}"
        with pytest.raises(urllib.error.HTTPError) as upload:
            urllib.request.urlopen(f"{http}/v1/audio/transcriptions", b"nothing", timeout=PATIENCE_S)
        with upload.value as answer:
            assert answer.code == 429
            assert float(answer.headers["retry-after"]) >= LEAST_WAIT_S
        with pytest.raises(InvalidStatus) as handshake:
            connect(f"ws://127.0.0.1:{served.port}/v1/listen", proxy=None)
        assert handshake.value.response.status_code == 429
        assert float(handshake.value.response.headers["retry-after"]) >= LEAST_WAIT_S
        with urllib.request.urlopen(f"{http}/health", timeout=PATIENCE_S) as health:
            assert json.load(health)["places"] == 0


def test_a_client_that_leaves_frees_its_place_at_once() -> None:
    with serving(max_sessions=1) as served:
        with Talker(served) as first:
            first.say(HELLO)
            first.ready()
        served.wait_for(lambda: not served.count("sessions_open"))
        assert told(served, HELLO, END)[1] == 1000


def test_a_client_that_vanishes_frees_its_place_when_it_may_not_come_back_any_more() -> None:
    with serving(with_limits(resume_s=0.2), max_sessions=1) as served:
        with Talker(served) as first:
            first.say(HELLO, AUDIO)
            first.ready()
            first.cut()
        served.wait_for(lambda: not served.count("sessions_open"))
        assert told(served, HELLO, END)[1] == 1000


def test_silence_on_the_line_ends_the_session_with_its_words() -> None:
    with serving(with_limits(idle_s=0.5)) as served:
        messages, code = told(served, HELLO, AUDIO)
    assert text_of(messages) == SPEECH.text
    assert messages[-1].event.reason.value == "idle"
    assert code == 1008


def test_a_session_ends_when_its_time_is_over() -> None:
    with serving(with_limits(total_s=1.0)) as served, Talker(served) as talker:
        talker.say(HELLO, AUDIO)
        messages = talker.rest()
    assert text_of(messages) == SPEECH.text
    assert isinstance(messages[-1], Numbered)
    assert isinstance(messages[-1].event, Failed)
    assert messages[-1].event.reason.value == "too_long"


def test_who_says_nothing_is_not_waited_for() -> None:
    with serving(with_limits(hello_s=0.2)) as served:
        messages, code = told(served)
    assert ([each.reason.value for each in messages], code) == (["hello_expected"], 1008)


def test_audio_that_comes_too_fast_waits_and_is_all_heard(served: Served) -> None:
    long = speech_of(random_words(200, 3))
    messages, _ = told(served, HELLO, *(s16(piece) for piece in np.array_split(long.samples, 20)), END)
    assert text_of(messages) == long.text


@pytest.mark.parametrize("bad", [{"max_connections": 0}, {"idle_s": float("nan")}, {"port": 1}, {"resume_s": -1}])
def test_impossible_limits_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, TypeError)):
        Limits(**bad)
