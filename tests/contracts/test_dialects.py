"""What is true of every dialect: the words of the native protocol, its own errors, and nobody else is disturbed.

A dialect is here as soon as it has a driver in tests/dialects.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from simul_whisper import SAMPLE_RATE, AlignAttConfig, Model, Word
from streaming.events import Words
from streaming.protocols.catalogue import ENTRIES, NAMES, REST
from streaming.protocols.dialect import End, Handshake, Message
from streaming.protocols.native import client_text
from streaming.server.access import Access
from streaming.server.dialects import Dialects
from streaming.server.tokens import one_token
from streaming.sessions.pool import SessionHandle
from streaming.sessions.request import SessionRequest
from tests.conftest import Recording
from tests.dialects import Call, Speaker, ToldError, cut
from tests.dialects.rehearsal import SERVED, Rehearsal
from tests.dialects.speakers import SPEAKERS
from tests.properties import examples
from tests.streaming.models import models_pool
from tests.streaming.serving import Served, Talker, s16, serving, text_of, with_limits
from tests.tones import Speech, english, mirror_model, random_words, speech_of, tone_model

ALL = Dialects(NAMES)
SPEECH = speech_of(random_words(8))
PCM = s16(SPEECH.samples)
TOKEN = "sesame-" * 3
END = client_text(End())

each_conversation = pytest.mark.parametrize(
    "speaker", [each for each in SPEAKERS if each.speaks], ids=lambda speaker: type(speaker).__name__
)
each_dialect = pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: type(speaker).__name__)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(dialects=ALL) as served:
        yield served


def native_text(served: Served, request: SessionRequest, pieces: Sequence[bytes]) -> str:
    with Talker(served) as talker:
        talker.say(client_text(request), *pieces, END)
        return text_of(talker.rest())


@contextmanager
def neighbour(served: Served, token: str = "") -> Iterator[None]:
    """Somebody speaks to the server natively meanwhile, and is told every word."""
    headers = {"additional_headers": {"Authorization": f"Bearer {token}"}} if token else {}
    with Talker(served, **headers) as talker:
        talker.say(client_text(SessionRequest()))
        talker.ready()
        talker.say(PCM[: len(PCM) // 2])
        yield
        talker.say(PCM[len(PCM) // 2 :], END)
        assert text_of(talker.rest()) == SPEECH.text
    assert not served.registry.errors["internal"]


def test_every_dialect_has_a_driver() -> None:
    entries = {(entry.name, entry.speak) for entry in ENTRIES}
    assert {(each.name, each.speaks) for each in SPEAKERS} == entries | {(REST, None)}


# The words


@st.composite
def speeches(draw: st.DrawFn) -> Speech:
    words = random_words(draw(st.integers(0, 6)), draw(st.integers(0, 99)))
    pauses = draw(st.lists(st.integers(1_600, 16_000), min_size=1, max_size=3))
    return speech_of(words, pauses, draw(st.integers(0, 8_000)))


@each_dialect
@examples(8)
@given(speech=speeches(), sizes=st.lists(st.sampled_from((0, 1, 3, 997, 6_001, 40_000)), max_size=9))
def test_the_words_are_those_of_the_native_protocol(
    served: Served, speaker: Speaker, speech: Speech, sizes: list[int]
) -> None:
    told = speaker.transcript(served, s16(speech.samples), pieces=sizes)
    native = native_text(served, speaker.request, cut(speaker.encoded(s16(speech.samples)), sizes))
    assert told == native == speech.text


@pytest.fixture(scope="module")
def served_tiny(tiny: Model) -> Iterator[Served]:
    config = AlignAttConfig(model_name="tiny.en", padding_len=1.0)
    # However late the audio comes, it is decoded in the same steps.
    with serving(model=tiny, config=config, dialects=ALL, late_s=1_000.0) as served:
        yield served


@pytest.fixture(scope="module")
def native_texts() -> dict[str, str]:
    """What was told natively, by what was asked for."""
    return {}


@each_dialect
def test_real_speech_is_told_as_it_is_natively(
    served_tiny: Served, native_texts: dict[str, str], speaker: Speaker, captions: Recording
) -> None:
    if speaker.request.targets:
        pytest.skip("a model that knows English only translates nothing")
    pcm = s16(captions.samples[: 6 * SAMPLE_RATE])
    asked = repr(speaker.request)
    if asked not in native_texts:
        native_texts[asked] = native_text(served_tiny, speaker.request, [speaker.encoded(pcm)])
    assert "somebody is still speaking" in native_texts[asked]
    assert speaker.transcript(served_tiny, pcm, pieces=[6_400] * 20) == native_texts[asked]


@each_dialect
def test_a_client_that_says_nothing_is_told_nothing(served: Served, speaker: Speaker) -> None:
    with suppress(ToldError):
        assert speaker.transcript(served, b"") == ""


# Several models


@pytest.fixture(scope="module")
def served_two() -> Iterator[Served]:
    with (
        models_pool({"tones": tone_model(), "mirror": mirror_model()}) as pool,
        serving(pool=pool, dialects=ALL) as served,
    ):
        yield served


@pytest.mark.parametrize(
    "speaker", [each for each in SPEAKERS if each.names_models], ids=lambda speaker: type(speaker).__name__
)
def test_the_model_that_is_named_listens(served_two: Served, speaker: Speaker) -> None:
    def said(call: Call) -> str:
        with call:
            return speaker.said_in(call, PCM)

    assert said(speaker.call(served_two)) == said(speaker.call_model(served_two, "tones")) == SPEECH.text
    assert said(speaker.call_model(served_two, "mirror")) == english(SPEECH).text


# Errors


@each_dialect
def test_who_comes_too_late_is_told_so(speaker: Speaker) -> None:
    with serving(with_limits(sessions_per_address=1), dialects=ALL) as served, neighbour(served):
        with pytest.raises(ToldError):
            speaker.transcript(served, PCM)
        assert served.registry.errors["too_many_sessions"] == 1
        assert served.count("sessions_open") == 1


@each_dialect
def test_no_token_and_a_wrong_one(speaker: Speaker) -> None:
    access = Access(one_token(TOKEN, "the test"))
    with serving(access=access, dialects=ALL) as served, neighbour(served, TOKEN):
        if speaker.asks_for_token:
            for wrong in ("", "wrong"):
                with pytest.raises(ToldError):
                    _spoken(speaker, served, wrong)
            assert served.registry.errors["unauthorized"] == 2
            assert served.registry.connections_by_dialect == {"native": 1}
        assert _spoken(speaker, served, TOKEN) == SPEECH.text
        assert served.registry.connections_by_dialect == {"native": 1, speaker.name: 1}


def _spoken(speaker: Speaker, served: Served, token: str) -> str:
    with speaker.call(served, token) as call:
        call.send(speaker.encoded(PCM))
        call.end()
        return "".join(call.said())


@each_dialect
@pytest.mark.parametrize("is_half_said", [False, True])
def test_who_vanishes_leaves_nothing_behind(served: Served, speaker: Speaker, is_half_said: bool) -> None:
    with neighbour(served):
        call = speaker.call(served)
        if is_half_said:
            call.send(speaker.encoded(PCM)[: len(PCM) // 2 + 1])
        call.vanish()
        served.wait_for(lambda: served.count("sessions_open") == served.registry.n_connections == 1)


@each_dialect
def test_who_does_not_read_disturbs_nobody(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    _make_buffers_small(monkeypatch)
    with serving(with_limits(slow_reader_s=0.3), dialects=ALL) as served, neighbour(served):
        pool, opened = served.registry.pool, served.registry.pool.open

        def open_talkative(*args: Any, **options: Any) -> SessionHandle:
            handle = opened(*args, **options)
            handle.log.append([Words((Word(f" {'word' * 50}", n, n + 1, 1.0),), n) for n in range(3_000)])
            return handle

        monkeypatch.setattr(pool, "open", open_talkative)
        with speaker.call(served) as deaf, suppress(OSError, ConnectionClosed):
            deaf.send(speaker.encoded(PCM))
            deaf.end()
            served.wait_for(lambda: served.registry.errors["slow_reader"] == 1)
            deaf.vanish()
        served.wait_for(lambda: served.count("sessions_open") == 1)


def _make_buffers_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little fits between a server that tells and a client that does not read."""

    def listening(host: str, port: int) -> socket.socket:
        made = socket.socket()
        # Inherited by its connections.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made.bind((host, port))
        made.listen()
        return made

    def connection(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(address)
        return made

    monkeypatch.setattr("tests.streaming.serving.bound_socket", listening)
    monkeypatch.setattr("socket.create_connection", connection)


# What nobody should send


@st.composite
def handshakes(draw: st.DrawFn, speaker: Speaker) -> Handshake:
    """One of the speaker's, which may have something wrong in its query or its headers."""
    handshake = draw(st.sampled_from(speaker.handshakes()))
    values = st.text(max_size=20) | st.sampled_from(("-1", "0", "9" * 400, "nan", "1e999", "true", "\0", "en,de"))
    query, headers = dict(handshake.query), dict(handshake.headers)
    for name in draw(st.lists(st.sampled_from(sorted(query)), max_size=2)) if query else ():
        query[name] = draw(st.lists(values, max_size=2))
    for name in draw(st.lists(st.sampled_from(sorted(headers)), max_size=1)) if headers else ():
        headers[name] = draw(values)
    return replace(handshake, query=query, headers=headers)


def _sent(speaker: Speaker, message: Message) -> Message:
    """Return a message as it arrives."""
    is_stream = any(entry.is_stream for entry in ENTRIES if entry.speak is speaker.speaks)
    return message.encode("utf-8", "replace") if is_stream and isinstance(message, str) else message


def _rehearse(speaker: Speaker, data: st.DataObject) -> None:
    handshake = data.draw(handshakes(speaker))
    messages = data.draw(st.lists(speaker.malformed() | st.sampled_from(speaker.examples()), max_size=6))
    assert speaker.speaks
    Rehearsal(speaker.speaks(handshake, SERVED)).run(_sent(speaker, message) for message in messages)


@each_conversation
@examples(200)
@given(data=st.data())
def test_whatever_is_said_is_answered_in_the_dialect(speaker: Speaker, data: st.DataObject) -> None:
    _rehearse(speaker, data)


@pytest.mark.long
@each_conversation
@settings(max_examples=2_000)
@given(data=st.data())
def test_two_thousand_times_whatever_is_answered_in_the_dialect(speaker: Speaker, data: st.DataObject) -> None:
    _rehearse(speaker, data)


@pytest.fixture(scope="module")
def impatient() -> Iterator[Served]:
    with serving(with_limits(idle_s=0.3, hello_s=0.3), dialects=ALL) as served:
        yield served


@each_dialect
@examples(20)
@given(data=st.data())
def test_over_the_wire_nobody_else_hears_of_it(impatient: Served, speaker: Speaker, data: st.DataObject) -> None:
    messages = data.draw(st.lists(speaker.malformed(), min_size=1, max_size=4))
    with suppress(ToldError), speaker.call(impatient) as call:
        for message in messages:
            call.say(message)
        call.end()
        # Something of it may have been right after all, and have an answer that the driver does not expect.
        with suppress(AssertionError):
            list(call.said())
    assert not impatient.registry.errors["internal"]
