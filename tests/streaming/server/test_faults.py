"""What the world does to a server: each mistake gets its name, and a well-behaved session beside it notices nothing."""

import gc
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper import SAMPLE_RATE
from simul_whisper.encoders import Features
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.fallback import BackendStatus
from simul_whisper.mel import Mel
from streaming.events import Ended, Failed, Reason
from streaming.protocols.dialect import End, Flush
from streaming.protocols.native import Numbered, Received, Refused, client_text
from streaming.server.resumable import ResumableSession
from streaming.sessions.request import SessionRequest
from tests.streaming.serving import CONFIG, Served, Talker, s16, serving, text_of, with_limits
from tests.tones import ToneEncoder, heard, random_words, speech_of, tone_model

HELLO, END, FLUSH = client_text(SessionRequest()), client_text(End()), client_text(Flush())
F32 = '{"type": "hello", "version": 1, "format": {"encoding": "f32le"}}'
CONTAINER = client_text(SessionRequest(None))
SPEECH = speech_of(random_words(20, 1))
AUDIO = s16(SPEECH.samples)
HALF = len(AUDIO) // 2


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture
def neighbour(served: Served) -> Iterator[None]:
    """A session that is open while something goes wrong beside it, and hears all afterwards."""
    with Talker(served) as talker:
        talker.say(HELLO)
        talker.ready()
        talker.say(AUDIO[:HALF])
        yield
        talker.say(AUDIO[HALF:], END)
        assert text_of(talker.rest()) == SPEECH.text
        assert talker.close_code == 1000


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


GARBAGE: dict[str, tuple[list[str | bytes], str]] = {
    "random bytes as text": (["\x00\x93\ufffd{"], "bad_json"),
    "wrong JSON": (["{'type': 'hello'}"], "bad_json"),
    "wrong JSON later": ([HELLO, "{"], "bad_json"),
    "deep JSON": ([HELLO, "[" * 10_000], "bad_json"),
    "long JSON": ([HELLO, " " * 100_000], "message_too_big"),
    "unknown version": (['{"type": "hello", "version": 7}'], "unsupported_version"),
    "unknown type": ([HELLO, '{"type": "stop"}'], "unknown_type"),
    "unknown key": (['{"type": "hello", "version": 1, "speed": 2}'], "unknown_key"),
    "binary before hello": ([b"\x00\x00"], "hello_expected"),
    "end before hello": ([END], "hello_expected"),
    "hello twice": ([HELLO, HELLO], "hello_twice"),
    "rate 0": (['{"type": "hello", "version": 1, "format": {"rate": 0}}'], "audio_format"),
    "50 channels": (['{"type": "hello", "version": 1, "format": {"channels": 50}}'], "audio_format"),
    "NaN": ([F32, floats(0.0, float("nan"))], "audio_format"),
    "infinity": ([F32, floats(float("inf"))], "audio_format"),
    "far too loud": ([F32, floats(1e30)], "audio_format"),
    "random bytes as a container": ([CONTAINER, bytes(range(256)) * 64, END], "audio_format"),
    "no byte of a container": ([CONTAINER, END], "audio_format"),
    "2 MB at once": ([HELLO, bytes(2_000_000)], "message_too_big"),
    "end twice": ([HELLO, AUDIO, END, END], "after_end"),
    "audio after the end": ([HELLO, AUDIO, END, AUDIO], "after_end"),
    "nothing after the end": ([HELLO, AUDIO, END, b""], "after_end"),
    "flush after the end": ([HELLO, AUDIO, END, FLUSH], "after_end"),
    "ack of what was never said": ([HELLO, '{"type": "ack", "seen": 1000}'], "bad_value"),
}


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize("name", GARBAGE)
def test_each_mistake_gets_its_name_and_others_are_untouched(served: Served, name: str) -> None:
    messages, code = GARBAGE[name]
    with Talker(served) as talker:
        talker.say(*messages)
        last = talker.rest()[-1]
        # What of a container cannot be decoded is an event of its session.
        said: Any = last if isinstance(last, Refused) else last.event
        assert said.reason.value == code
        assert talker.close_code in (1008, 1009)


@pytest.mark.usefixtures("neighbour")
def test_a_hundred_megabytes_are_refused_without_being_read_to_memory(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(HELLO, bytes(100_000_000))
        talker.rest()
        assert talker.close_code == 1009
        assert "exceeds" in (talker.socket.close_reason or "")


@pytest.mark.usefixtures("neighbour")
def test_odd_bytes_and_empty_messages_change_nothing(served: Served) -> None:
    with Talker(served) as talker:
        pieces = [AUDIO[:1], b"", AUDIO[1:2], AUDIO[2:99_999], b"", AUDIO[99_999:], b"\x01"]
        talker.say(HELLO, *pieces, END)
        assert text_of(talker.rest()) == SPEECH.text


@pytest.mark.usefixtures("neighbour")
def test_bytes_that_are_no_websocket_harm_nobody(served: Served) -> None:
    for data in (b"\x00" * 5000, os.urandom(5000), b"GET /v1/stream HTTP/1.1\r\n\r\n", b"\x16\x03\x01" * 99):
        with socket.create_connection(("127.0.0.1", served.port)) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while _received(raw):
                pass
    with Talker(served) as talker:
        talker.say(HELLO)
        talker.ready()
        # A frame with reserved bits and a length that never comes.
        talker.socket.socket.sendall(b"\xff\xff" + b"\xff" * 8)
        talker.rest()
        assert talker.close_code == 1002


def _received(raw: socket.socket) -> bytes:
    try:
        return raw.recv(65_536)
    except ConnectionResetError:
        return b""


@pytest.mark.usefixtures("neighbour")
def test_a_client_that_is_cut_off_in_mid_message_harms_nobody(served: Served) -> None:
    with Talker(served) as talker:
        talker.say(HELLO)
        talker.ready()
        talker.socket.socket.sendall(b"\x82\xfe\x10\x00\x00\x00\x00\x00half")
        talker.cut()


def test_inference_that_raises_in_one_session_leaves_the_others() -> None:
    trap = 7

    class Trapped(ToneEncoder):
        def encode(self, mel: Mel) -> Features:
            features = super().encode(mel)
            if trap in {word for word, _ in heard(features)}:
                raise RuntimeError("trapped")
            return features

    safe = speech_of([word for word in random_words(30, 2) if word != trap])
    with (
        serving(model=replace(tone_model(), encoder=FallbackEncoder(BackendStatus("tones"), Trapped))) as served,
        Talker(served) as neighbour,
    ):
        neighbour.say(HELLO)
        neighbour.ready()
        neighbour.say(s16(safe.samples[:50_000]))
        with Talker(served) as unlucky:
            unlucky.say(HELLO, s16(speech_of([1, 2, trap, 3]).samples), END)
            last = unlucky.rest()[-1]
            assert isinstance(last, Numbered)
            assert last.event == Failed(Reason.INTERNAL, "RuntimeError: trapped")
            assert unlucky.close_code == 1011
        neighbour.say(s16(safe.samples[50_000:]), END)
        assert text_of(neighbour.rest()) == safe.text


@pytest.mark.waits
def test_who_does_not_read_is_closed_and_costs_little() -> None:
    listening = socket.socket()
    # Inherited by its connections: little fits between a server that tells and a client that does not read.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    chatty = replace(CONFIG, segment_length=0.02, frame_threshold=1)
    with serving(with_limits(slow_reader_s=0.5), config=chatty, listening=listening) as served:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.port))
        with Talker(served, sock=client, max_queue=1) as deaf:
            deaf.say(HELLO)
            deaf.ready()
            sender = threading.Thread(target=_say_for_ever, args=(deaf, served))
            sender.start()
            served.wait_for(lambda: served.registry.errors["slow_reader"])
            sender.join()
            deaf.rest()
            assert (deaf.close_code, deaf.socket.close_reason) == (1008, "slow_reader")


def _say_for_ever(talker: Talker, served: Served) -> None:
    while not served.registry.errors["slow_reader"]:
        talker.say(AUDIO)


def test_audio_that_nobody_decodes_waits_outside_and_then_gets_overloaded() -> None:
    may_encode = threading.Event()
    may_encode.set()

    class Stuck(ToneEncoder):
        def encode(self, mel: Mel) -> Features:
            may_encode.wait()
            return super().encode(mel)

    model = replace(tone_model(), encoder=FallbackEncoder(BackendStatus("tones"), Stuck))
    with serving(with_limits(stall_s=0.5), model=model) as served:
        may_encode.clear()
        try:
            with Talker(served) as talker:
                talker.say(HELLO)
                talker.ready()
                offered = list[int]()
                sender = threading.Thread(target=_offer, args=(talker, served, offered))
                sender.start()
                received, refused = _received_until_refused(talker)
                sender.join()
                assert (refused.reason, talker.close_code) == (Reason.OVERLOADED, 1013)
        finally:
            may_encode.set()
        # The buffer, half a window, and what is handed on at once.
        assert received <= s16_bytes(30 + 7.5 + 2 + 1) < sum(offered)
        # The client was made to wait: what it could send more is in the buffers of the two sockets.
        assert sum(offered) < received + 32_000_000
        served.wait_for(lambda: not served.count("sessions_open"))
        with Talker(served) as talker:
            talker.say(HELLO, AUDIO, END)
            assert text_of(talker.rest()) == SPEECH.text


def _offer(talker: Talker, served: Served, offered: list[int]) -> None:
    second = bytes(s16_bytes(1))
    while not served.registry.errors["overloaded"] and len(offered) < 2_000:
        talker.say(second)
        offered.append(len(second))


def _received_until_refused(talker: Talker) -> tuple[int, Refused]:
    """Read to the refusal; return how many bytes of audio had been received by then."""
    received_bytes = 0
    while not isinstance(message := talker.next(), Refused):
        assert isinstance(message, Received)
        received_bytes = message.received_bytes
    talker.rest()
    return received_bytes, message


def s16_bytes(duration_s: float) -> int:
    return round(2 * SAMPLE_RATE * duration_s)


def test_a_client_killed_in_the_middle_leaves_nothing_behind() -> None:
    with serving(with_limits(resume_s=0.0)) as served:
        streams = n_streams()
        for hello in (HELLO, CONTAINER):
            with Talker(served) as warm:
                warm.say(hello, AUDIO, END)
                warm.rest()
        before = open_things()
        for n in range(20):
            with Talker(served) as talker:
                talker.say(CONTAINER if n % 4 == 0 else HELLO)
                talker.ready()
                talker.say(AUDIO[: n * 10_000])
                talker.cut()
        served.wait_for(lambda: not served.count("sessions_open") and not served.registry.n_connections)
        served.wait_for(lambda: open_things() <= before)
        # The last of them is let go a moment after its connection.
        served.wait_for(lambda: n_streams() <= streams)


def open_things() -> tuple[int, int]:
    """Threads, but for those that asyncio keeps for later, and descriptors where they can be counted."""
    gc.collect()
    descriptors = Path("/proc/self/fd")
    n_threads = sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())
    return n_threads, len(list(descriptors.iterdir())) if descriptors.exists() else 0


@pytest.mark.waits
def test_two_hundred_short_sessions_leave_nothing_behind(served: Served) -> None:
    short = speech_of([1, 2])
    before, streams = (0, 0), n_streams()
    for n in range(200):
        with Talker(served) as talker:
            talker.say(HELLO, s16(short.samples), END)
            assert text_of(talker.rest()) == short.text
        if n == 20:
            before = open_things()
    served.wait_for(lambda: served.registry.n_connections == 0)
    served.wait_for(lambda: open_things() <= before)
    assert n_streams() - streams <= 64


def n_streams() -> int:
    gc.collect()
    return len([each for each in gc.get_objects() if isinstance(each, ResumableSession)])


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from("type version format language task options resume seen encoding rate channels".split())
OBJECTS = st.dictionaries(KEYS, JSON | st.sampled_from(["hello", "end", "flush", "ack", 1, 0, "container"]))
MESSAGES = st.one_of(
    st.text(max_size=50),
    st.binary(max_size=300),
    JSON.map(json.dumps),
    OBJECTS.map(json.dumps),
    st.sampled_from([HELLO, F32, CONTAINER, END, FLUSH, '{"type": "ack", "seen": 0}', AUDIO[:5000]]),
)


@pytest.mark.usefixtures("neighbour")
@settings(derandomize=True)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=6))
def test_anything_ends_well_or_with_a_name(served: Served, messages: list[str | bytes]) -> None:
    with Talker(served) as talker:
        talker.say(*messages, END, END)
        last: Any = talker.rest()[-1]
        # The session may be over before the second end is read.
        is_well = isinstance(last, Numbered) and isinstance(last.event, Ended)
        code = getattr(last if isinstance(last, Refused) else last.event, "reason", Reason.UNKNOWN).value
        assert is_well or code in [each.value for each in Reason]
        assert code != "internal"
        assert talker.close_code in ((1000,) if is_well else (1008, 1009))
