"""Both forms of lines, as functions."""

import json

import pytest

from simul_whisper import Word
from streaming.events import Event, Failed, Reason, Recognised, SpeechEnded, Words
from streaming.protocols.dialect import Audio, Handshake, Hangup, Open, Served
from streaming.protocols.lines import JsonLines, Lines
from streaming.sessions.request import SessionRequest

SERVED = Served("tiny", (), ("en",), ("transcribe",), (), "1")


def words(*said: tuple[str, float, float]) -> Words:
    return Words(tuple(Word(text, start_s, end_s, 1.0) for text, start_s, end_s in said), 3.0)


def told(dialect: Lines, *events: Event) -> list[str]:
    return [line for event in events for line in dialect.tell(event, 1.2345) if isinstance(line, str)]


@pytest.fixture(params=[Lines, JsonLines])
def dialect(request: pytest.FixtureRequest) -> Lines:
    spoken: Lines = request.param(Handshake("somebody", 0.0), SERVED)
    return spoken


def test_the_first_bytes_open_the_session_however_few_they_are(dialect: Lines) -> None:
    assert dialect.hear(b"\0", 0) == [Open(SessionRequest(drafts=False)), Audio(b"\0")]
    assert dialect.hear(b"\0\1\2", 0) == [Audio(b"\0\1\2")]


def test_spans_do_not_overlap_and_a_line_is_a_line() -> None:
    dialect = Lines(Handshake("somebody", 0.0), SERVED)
    first, second = words((" one", 0.5, 1.5), (" two", 1.4, 2.0)), words((" 3\n4\r", 1.9, 1.95), (".", 1.95, 1.95))
    assert told(dialect, first, second) == ["500 2000  one two\n", "2000 2000  3 4 .\n"]


def test_json_tells_every_word_and_the_end_of_each_utterance() -> None:
    dialect = JsonLines(Handshake("somebody", 0.0), SERVED)
    said = [json.loads(line) for line in told(dialect, words((" one", 0.5, 1.0), (" two", 1.0, 2.0)), SpeechEnded(2.5))]
    assert said == [
        {
            "start": 0.5,
            "end": 2.0,
            "text": " one two",
            "words": [{"start": 0.5, "end": 1.0, "text": " one"}, {"start": 1.0, "end": 2.0, "text": " two"}],
            "is_final": False,
            "emission_time": 1.234,
        },
        {"is_final": True, "emission_time": 1.234},
    ]
    assert told(dialect, Recognised(3.0)) == []
    (_, end) = told(dialect, words((" three", 3.0, 3.5)), Recognised(4.0))
    assert json.loads(end) == {"is_final": True, "emission_time": 1.234}


def test_a_failure_is_told_and_ends_it(dialect: Lines) -> None:
    line, hangup = dialect.tell(Failed(Reason.IDLE, "nothing came"), 0)
    assert isinstance(hangup, Hangup)
    assert line in ("error: nothing came\n", '{"error": "nothing came", "code": "idle"}\n')
