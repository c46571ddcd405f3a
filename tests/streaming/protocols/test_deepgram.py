"""Deepgram's dialect: what its client says becomes commands, and what happens becomes its messages."""

import json
from typing import Any

import pytest

from simul_whisper import Word
from streaming.events import (
    Draft,
    Ended,
    Event,
    Failed,
    Flushed,
    Language,
    Reason,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Words,
)
from streaming.protocols.deepgram import Deepgram
from streaming.protocols.dialect import Audio, End, Flush, Hangup, Reply, Say
from streaming.sessions.request import Refusal
from tests.dialects.deepgram import LINEAR16, spoken


def begun(query: str = "") -> Deepgram:
    dialect = spoken(f"{LINEAR16}&{query}")
    dialect.begin()
    return dialect


def words(text: str, start_s: float = 0.0) -> Words:
    """Words of half a second each."""
    parts = [f" {part}" for part in text.split()]
    told = tuple(Word(each, start_s + n / 2, start_s + (n + 1) / 2, 0.5) for n, each in enumerate(parts))
    return Words(told, told[-1].end_s)


def read(replies: list[Reply]) -> list[Any]:
    return [json.loads(reply) if isinstance(reply, str) else reply for reply in replies]


def told(dialect: Deepgram, *events: Event, at_s: float = 0.0) -> list[Any]:
    """What is told of events that come together."""
    return read(dialect.tell_all(events, at_s))


def summary(message: dict[str, Any]) -> tuple[str, str]:
    """A message by its transcript, or its type, and which of its flags are set."""
    if message["type"] != "Results":
        return message["type"], ""
    flags = [name for name in ("is_final", "speech_final", "from_finalize") if message[name]]
    return message["channel"]["alternatives"][0]["transcript"], " ".join(flags)


# What the client says


def test_messages_become_commands() -> None:
    dialect = begun()
    assert dialect.hear(b"\0\0", 0) == [Audio(b"\0\0")]
    assert dialect.hear('{"type":"KeepAlive"}', 0) == []
    assert dialect.hear('{"type":"Finalize"}', 0) == [Flush()]
    assert dialect.hear('{"type":"Finalize","channel":0}', 0) == [Flush()]
    assert dialect.hear('{"type":"CloseStream"}', 0) == [End()]
    for late in (b"\0\0", '{"type":"KeepAlive"}', '{"type":"CloseStream"}', "nonsense"):
        assert dialect.hear(late, 0) == []


@pytest.mark.parametrize("text", ["", "[]", '{"type":1}', '{"type":"Finalize","channel":1}', '{"type":"Close"}', "{}"])
def test_a_message_that_makes_no_sense_is_answered_and_the_stream_goes_on(text: str) -> None:
    dialect = begun()
    with pytest.raises(Refusal) as refused:
        dialect.hear(text, 0)
    (error,) = read(dialect.refuse(refused.value))
    assert (error["type"], error["variant"]) == ("Error", "SchemaError")


@pytest.mark.parametrize(
    ("more", "code"),
    [('"keyterms":["a"]', "CONFIGURE_KEYTERMS_NOT_SUPPORTED"), ('"features":{}', "CONFIGURE_INTERNAL_ERROR")],
)
def test_what_cannot_be_changed_is_told_so(more: str, code: str) -> None:
    (say,) = begun().hear(f'{{"type":"Configure",{more}}}', 0)
    assert isinstance(say, Say)
    (failure,) = read(list(say.replies))
    assert (failure["type"], failure["code"]) == ("ConfigureFailure", code)


# What it is told


def test_each_word_is_final_once_and_ranges_follow_one_another() -> None:
    dialect = begun()
    first, second = told(dialect, words("One house,", 0.5), words("two", 3.0))
    assert summary(first) == ("One house,", "is_final")
    assert (first["start"], first["duration"]) == (0, 1.5)
    assert (second["start"], second["duration"]) == (1.5, 2.0)
    alternative = first["channel"]["alternatives"][0]
    assert alternative["confidence"] == 0.5
    assert [(each["word"], each["punctuated_word"]) for each in alternative["words"]] == [
        ("one", "One"),
        ("house", "house,"),
    ]
    assert first["metadata"]["model_info"] == {"name": "base", "version": "1.0", "arch": "whisper"}


def test_punctuation_belongs_to_the_word_before_it() -> None:
    said = Words((Word(" Oh", 0, 1, 1), Word("!", 1, 1, 1), Word(" 🙂", 1, 2, 1)), 2)
    (results,) = told(begun(), said)
    alternative = results["channel"]["alternatives"][0]
    assert alternative["transcript"] == "Oh! 🙂"
    assert [each["punctuated_word"] for each in alternative["words"]] == ["Oh!", "🙂"]
    assert [each["word"] for each in alternative["words"]] == ["oh", "🙂"]


def test_the_rest_of_a_word_belongs_to_it() -> None:
    said = Words((Word(" 1", 0, 1, 1), Word(",250", 1, 1.5, 1), Word(" U.S.", 2, 3, 1)), 3)
    (results,) = told(begun(), said)
    number, spelled = results["channel"]["alternatives"][0]["words"]
    assert (number["word"], number["punctuated_word"], number["start"], number["end"]) == ("1,250", "1,250", 0, 1.5)
    assert spelled["punctuated_word"] == "U.S."


def test_the_end_of_an_utterance_stands_with_its_last_words_or_alone() -> None:
    dialect = begun()
    (ending,) = told(dialect, words("one two"), Draft(()), SpeechEnded(1.0))
    assert summary(ending) == ("one two", "is_final speech_final")
    messages = told(dialect, words("three", 2.0)) + told(dialect, SpeechEnded(2.5))
    assert [summary(each) for each in messages] == [("three", "is_final"), ("", "is_final speech_final")]
    (click,) = told(dialect, SpeechEnded(4.0))
    assert summary(click) == ("", "is_final speech_final")
    assert (click["start"], click["duration"]) == (2.5, 1.5)


def test_without_endpointing_no_utterance_ends() -> None:
    dialect = begun("endpointing=false")
    assert [summary(each) for each in told(dialect, words("one"), SpeechEnded(1.0))] == [("one", "is_final")]
    assert told(dialect, SpeechEnded(3.0)) == []
    assert [summary(each) for each in told(dialect, Flushed(4.0))] == [("", "is_final from_finalize")]


def test_finalize_is_answered_with_the_last_words_or_none() -> None:
    dialect = begun()
    (ending,) = told(dialect, words("one"), SpeechEnded(0.5), Flushed(0.5))
    assert summary(ending) == ("one", "is_final speech_final from_finalize")
    (nothing,) = told(dialect, Flushed(0.6))
    assert summary(nothing) == ("", "is_final from_finalize")
    # Where nobody listens for voices, it is the flush that ends an utterance.
    told(dialect, words("two", 1.0))
    (ending,) = told(dialect, Flushed(2.0))
    assert summary(ending) == ("", "is_final speech_final from_finalize")


def test_drafts_are_interim_results_of_what_follows() -> None:
    dialect = begun("interim_results=true")
    draft = Draft(words("one two").words)
    messages = told(dialect, draft, words("one"), Draft(words("too", 0.5).words), Draft(()), Draft(()))
    assert [summary(each) for each in messages] == [("one two", ""), ("one", "is_final"), ("too", ""), ("", "")]
    assert (messages[2]["start"], messages[2]["duration"]) == (0.5, 0.5)


def test_speech_starts_are_told_to_those_who_asked() -> None:
    assert told(begun(), SpeechStarted(1.5)) == []
    (started,) = told(begun("vad_events=true"), SpeechStarted(1.5))
    assert started == {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 1.5}


def test_detected_languages_are_told_by_the_codes_of_today() -> None:
    for query, languages in (("language=multi", ["jv"]), ("language=jv", None)):
        alternative = told(begun(query), Language("jw"), words("iki"))[0]["channel"]["alternatives"][0]
        assert alternative.get("languages") == languages


SECOND = b"\0" * 32_000
SAID = words("one two")


def heard(dialect: Deepgram, at_s: float, data: bytes = SECOND) -> list[str]:
    """What is answered to audio, by type."""
    audio, *says = dialect.hear(data, at_s)
    assert audio == Audio(data)
    return [each["type"] for say in says if isinstance(say, Say) for each in read(list(say.replies))]


def test_an_utterance_has_ended_after_so_much_silence_and_only_once() -> None:
    dialect = begun("utterance_end_ms=1000&interim_results=true&endpointing=500")
    assert heard(dialect, 1.0) == []
    told(dialect, SpeechStarted(0.1), SAID, at_s=1.2)
    assert heard(dialect, 3.0) == [], "somebody is speaking"
    told(dialect, SpeechEnded(1.0), at_s=3.0)
    assert heard(dialect, 3.4) == [], "by the clock, the silence is too short"
    _, say = dialect.hear(b"", 3.5)
    assert isinstance(say, Say)
    assert read(list(say.replies)) == [{"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 1.0}]
    assert heard(dialect, 60.0) == []


def test_an_utterance_has_not_ended_while_its_silence_was_not_heard() -> None:
    dialect = begun("utterance_end_ms=1500")
    heard(dialect, 1.0)
    told(dialect, SAID, at_s=1.2)
    assert heard(dialect, 60.0) == []
    assert heard(dialect, 61.0) == ["UtteranceEnd"]


def test_audio_that_is_ahead_of_the_clock_ends_utterances_when_the_next_begins() -> None:
    dialect = begun("utterance_end_ms=1000&vad_events=true")
    assert heard(dialect, 0.0, 60 * SECOND) == []
    messages = told(dialect, SAID, SpeechEnded(1.0), SpeechStarted(1.9), words("three", 1.9), SpeechEnded(2.4))
    assert "UtteranceEnd" not in [each["type"] for each in messages]
    assert [each["type"] for each in told(dialect, SpeechStarted(3.4))] == ["UtteranceEnd", "SpeechStarted"]
    told(dialect, words("four", 3.4))
    assert [each["type"] for each in told(dialect, words("five", 5.0))] == ["UtteranceEnd", "Results"]


def test_nobody_who_did_not_ask_is_told_of_the_end_of_utterances() -> None:
    dialect = begun()
    messages = told(dialect, SAID, SpeechEnded(1.0), SpeechStarted(9.0), words("three", 9.0))
    assert {each["type"] for each in messages} == {"Results"}
    assert heard(dialect, 100.0) == []


def test_the_last_results_come_before_the_metadata_and_the_close() -> None:
    dialect = begun()
    dialect.hear(b"abcd", 0)
    *results, metadata, hangup = told(dialect, words("one"), Recognised(2.0), Ended(2.0))
    assert [summary(each) for each in results] == [("one", "is_final speech_final")]
    assert metadata["sha256"] == "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"
    assert (metadata["type"], metadata["duration"], metadata["channels"]) == ("Metadata", 2.0, 1)
    assert metadata["created"] == "2023-11-14T22:13:20.000Z"
    assert metadata["model_info"][metadata["models"][0]]["name"] == "base"
    assert metadata["request_id"] == results[0]["metadata"]["request_id"]
    assert hangup == Hangup()
    metadata, hangup = told(begun(), Recognised(0.0), Ended(0.0))
    assert (metadata["duration"], hangup) == (0.0, Hangup())


@pytest.mark.parametrize(
    ("reason", "last"),
    [
        (Reason.AUDIO_FORMAT, Hangup(1008, "DATA-0000")),
        (Reason.IDLE, Hangup(1011, "NET-0001")),
        (Reason.TOO_MANY_SESSIONS, Hangup(1013, "too_many_sessions")),
    ],
)
def test_an_end_by_an_error_is_told_and_has_the_code_of_its_reason(reason: Reason, last: Hangup) -> None:
    dialect = begun()
    error, hangup = told(dialect, Failed(reason, "because"))
    assert error == {"type": "Error", "variant": reason.value, "description": "because"}
    assert hangup == last
