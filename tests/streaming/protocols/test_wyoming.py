"""Wyoming as functions: events cut anywhere, audio of any width, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simul_whisper import Word
from streaming.events import Ended, Event, Failed, Reason, Words
from streaming.protocols.dialect import Audio, Command, End, Handshake, Hangup, Open, Reply, Say, Served
from streaming.protocols.wyoming import Wyoming
from streaming.protocols.wyoming_events import EventReader, WyomingEvent
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat
from tests.dialects import cut
from tests.dialects.wyoming import S16_MONO, event

SERVED = Served("tiny", ("whisper-1",), ("en", "de"), ("transcribe",), (), "1.2", most_message_bytes=4_096)
OPEN = Open(SessionRequest(drafts=False))


def wyoming() -> Wyoming:
    return Wyoming(Handshake("somebody", 0.0), SERVED)


def told(dialect: Wyoming, *events: Event) -> list[tuple[str, dict[str, Any]]]:
    return list(events_of([reply for each in events for reply in dialect.tell(each, 0)]))


def events_of(replies: list[Reply]) -> Iterator[tuple[str, dict[str, Any]]]:
    written = b"".join(reply for reply in replies if isinstance(reply, bytes))
    return ((each.type, dict(each.data)) for each in EventReader(0).feed(written))


def words(*texts: str) -> Words:
    return Words(tuple(Word(text, 0.0, 1.0, 1.0, "en") for text in texts), 2.0)


EVENTS = [
    WyomingEvent("describe"),
    WyomingEvent("ping", {"text": "é\n"}),
    WyomingEvent("audio-chunk", {**S16_MONO}, b"\n{}\n" * 20),
    WyomingEvent("audio-stop"),
]


@given(st.lists(st.integers(0, 60), max_size=20))
def test_events_are_read_however_they_are_cut(sizes: list[int]) -> None:
    written = b"".join(event(each.type, each.data, each.payload) for each in EVENTS)
    reader = EventReader(4_096)
    assert [each for piece in cut(written, sizes) for each in reader.feed(piece)] == EVENTS


def test_data_may_stand_in_the_line_and_after_it() -> None:
    line = b'{"type": "a", "data": {"x": 1, "y": 1}, "data_length": 8}\n{"y": 2}'
    assert list(EventReader(0).feed(line)) == [WyomingEvent("a", {"x": 1, "y": 2})]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"hello\n", Reason.BAD_JSON),
        (b"[]\n", Reason.BAD_JSON),
        (b"\xff\n", Reason.BAD_JSON),
        (b'{"type": "a", "data_length": 2}\n[]', Reason.BAD_JSON),
        (b'{"data": {}}\n', Reason.UNKNOWN_TYPE),
        (b'{"type": "a", "data": []}\n', Reason.BAD_VALUE),
        (b'{"type": "a", "data_length": -1}\n', Reason.BAD_VALUE),
        (b'{"type": "a", "payload_length": true}\n', Reason.BAD_VALUE),
        (b'{"type": "a", "payload_length": 4097}\n', Reason.MESSAGE_TOO_BIG),
        (b'{"type": "a", "data_length": 1000000}\n', Reason.MESSAGE_TOO_BIG),
        (b" " * 20_000, Reason.MESSAGE_TOO_BIG),
        (event("transcribe", {"language": "Klingon"}), Reason.CONFIG),
        (event("transcribe", {"language": 3}), Reason.BAD_VALUE),
        (event("transcribe", {"name": "huge"}), Reason.CONFIG),
        (event("transcribe", {"transcript_names": [1]}), Reason.BAD_VALUE),
        (event("select-program", {"name": "other"}), Reason.CONFIG),
        (event("ping", {"text": {}}), Reason.BAD_VALUE),
        (event("audio-chunk", {**S16_MONO, "width": 5}), Reason.AUDIO_FORMAT),
        (event("audio-chunk", {**S16_MONO, "rate": 100}), Reason.AUDIO_FORMAT),
        (event("audio-chunk", {**S16_MONO, "channels": "2"}), Reason.AUDIO_FORMAT),
        (event("audio-chunk", {}), Reason.AUDIO_FORMAT),
        (event("audio-chunk", S16_MONO) + event("audio-chunk", {**S16_MONO, "rate": 8_000}), Reason.AUDIO_FORMAT),
    ],
)
def test_what_cannot_be_had_is_refused_and_ends_the_connection(written: bytes, reason: Reason) -> None:
    dialect = wyoming()
    with pytest.raises(Refusal) as refused:
        dialect.hear(written, 0)
    assert refused.value.reason is reason
    replies = dialect.refuse(refused.value)
    assert replies[-1] == Hangup()
    ((kind, data),) = events_of(replies)
    assert (kind, data["code"], set(data)) == ("error", reason.value, {"text", "code"})


def heard(width: int, rate: int, data: bytes, sizes: list[int]) -> tuple[Command, NDArray[np.int16]]:
    dialect = wyoming()
    kind = {"rate": rate, "width": width, "channels": 1}
    pieces = cut(data, sizes)
    commands = [each for piece in pieces for each in dialect.hear(event("audio-chunk", kind, piece), 0)]
    audio = b"".join(each.data for each in commands[1:] if isinstance(each, Audio))
    return commands[0], np.frombuffer(audio, "<i2")


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=50), st.lists(st.integers(0, 9), max_size=9))
def test_audio_of_any_width_is_heard_as_16_bits_however_it_is_cut(values: list[int], sizes: list[int]) -> None:
    samples = np.array(values)
    expected = samples.astype("<i2") * 256
    written = {
        1: (samples + 128).astype(np.uint8).tobytes(),
        2: expected.tobytes(),
        3: b"".join(int(value << 16).to_bytes(3, "little", signed=True) for value in values),
        4: (samples.astype("<i4") << 24).tobytes(),
    }
    for width, data in written.items():
        opened, audio = heard(width, 44_100, data, sizes)
        assert opened == Open(SessionRequest(PcmFormat(rate=44_100), drafts=False))
        np.testing.assert_array_equal(audio, expected)


def test_a_transcript_is_told_while_it_is_spoken_and_once_more_at_the_end() -> None:
    dialect = wyoming()
    commands = dialect.hear(event("audio-start", S16_MONO) + event("audio-chunk", S16_MONO, b"\0\0"), 0)
    assert [*commands, *dialect.hear(event("audio-stop"), 0)] == [OPEN, Audio(b"\0\0"), End()]
    assert told(dialect, words(" one", " two"), words(" three"), words("."), Ended(3.0)) == [
        ("transcript-start", {"language": "en"}),
        ("transcript-chunk", {"text": "one two"}),
        ("transcript-chunk", {"text": " three"}),
        ("transcript-chunk", {"text": "."}),
        ("transcript", {"text": "one two three.", "language": "en"}),
        ("transcript-stop", {}),
    ]


def test_a_stop_without_audio_has_an_empty_transcript() -> None:
    dialect = wyoming()
    assert dialect.hear(event("audio-stop"), 0) == [OPEN, End()]
    assert told(dialect, Ended(0.0)) == [
        ("transcript-start", {}),
        ("transcript", {"text": ""}),
        ("transcript-stop", {}),
    ]


def test_settings_are_those_of_the_next_transcription_only() -> None:
    dialect = wyoming()
    wanted = {
        "name": "whisper-1",
        "language": "de-DE",
        "vad_sensitivity": "aggressive",
        "transcript_terms": ["x" * 300, "", "mel"],
    }
    dialect.hear(event("transcribe", {**wanted, "transcript_names": ["Ada", "Grace"], "context": {"any": "thing"}}), 0)
    engine = {"language": "de", "terms": ["Ada", "Grace", "mel"]}
    first, _ = dialect.hear(event("audio-stop"), 0)
    assert first == Open(SessionRequest(engine=engine, voice={"vad_silence": 0.25}, drafts=False))
    assert dialect.hear(event("audio-stop"), 0) == [OPEN, End()]


@pytest.mark.parametrize(("most", "terms"), [(3, ["Ada", "Grace", "mel"]), (2, ["Ada", "Grace"]), (0, None)])
def test_of_the_names_of_a_home_the_first_are_listened_for(most: int, terms: list[str] | None) -> None:
    dialect = Wyoming(Handshake("somebody", 0.0), replace(SERVED, most_terms=most))
    dialect.hear(event("transcribe", {"transcript_names": ["Ada", "", "Grace", "mel"]}), 0)
    opened, _ = dialect.hear(event("audio-stop"), 0)
    assert isinstance(opened, Open)
    assert opened.request.engine.get("terms") == terms


def test_what_is_served_is_described() -> None:
    (said,) = wyoming().hear(event("describe"), 0)
    assert isinstance(said, Say)
    ((kind, info),) = events_of(list(said.replies))
    (program,) = info["asr"]
    (model,) = program["models"]
    assert (kind, program["supports_transcript_streaming"], program["version"]) == ("info", True, "1.2")
    assert (model["name"], model["languages"], model["installed"]) == ("tiny", ["en", "de"], True)


def test_before_the_model_is_there_it_is_asked_for_patience() -> None:
    """Home Assistant asks again after a lost connection, but not after an empty description."""
    dialect = Wyoming(Handshake("somebody", 0.0), Served("", (), (), (), (), "1"))
    with pytest.raises(Refusal) as refused:
        dialect.hear(event("describe"), 0)
    assert refused.value.reason is Reason.NOT_READY


def test_pings_are_answered_and_unknown_events_are_passed_over() -> None:
    dialect = wyoming()
    assert dialect.hear(event("synthesize", {"text": "hello"}, b"\0" * 100), 0) == []
    said = dialect.hear(event("ping", {"text": "a"}) + event("ping", {"text": None}), 0)
    replies = [reply for each in said if isinstance(each, Say) for reply in each.replies]
    assert list(events_of(replies)) == [("pong", {"text": "a"}), ("pong", {"text": None})]


def test_a_failure_is_told() -> None:
    dialect = wyoming()
    dialect.hear(event("audio-stop"), 0)
    assert told(dialect, Failed(Reason.IDLE, "nothing came")) == [("error", {"text": "nothing came", "code": "idle"})]
