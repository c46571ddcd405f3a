"""Deepgram's dialect: what is asked for becomes settings of ours, and what happens becomes its messages."""

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
from streaming.protocols.deepgram import PATH, Deepgram
from streaming.protocols.dialect import Audio, End, Flush, Handshake, Hangup, Open, Reply, Say, Served
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

SERVED = Served("base", (), ("en", "de", "zh", "jw"), ("transcribe",), (), "1.0")
LINEAR16 = "encoding=linear16&sample_rate=16000"


def spoken(query: str = LINEAR16, **options: Any) -> Deepgram:
    """A connection with a query, not yet begun."""
    values: dict[str, list[str]] = {}
    for name, _, value in (part.partition("=") for part in query.split("&") if part):
        values.setdefault(name, []).append(value)
    return Deepgram(Handshake("somebody", 1_700_000_000.0, PATH, values, **options), SERVED)


def begun(query: str = "") -> Deepgram:
    dialect = spoken(f"{LINEAR16}&{query}")
    dialect.begin()
    return dialect


def request(query: str) -> SessionRequest:
    (command,) = spoken(query).begin()
    assert isinstance(command, Open)
    return command.request


def refusal(query: str) -> Refusal:
    with pytest.raises(Refusal) as refused:
        spoken(query).check()
    return refused.value


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


# What is asked for


@pytest.mark.parametrize(
    ("query", "audio"),
    [
        ("", None),
        ("sample_rate=8000&channels=9", None),
        (LINEAR16, PcmFormat("s16le", 16_000, 1)),
        ("encoding=linear32&sample_rate=48000&channels=2", PcmFormat("f32le", 48_000, 2)),
        ("encoding=mulaw&sample_rate=8000", PcmFormat("mulaw", 8_000, 1)),
        ("encoding=alaw&sample_rate=8000&channels=1", PcmFormat("alaw", 8_000, 1)),
    ],
)
def test_audio_has_the_format_that_is_named_and_is_a_container_otherwise(query: str, audio: PcmFormat | None) -> None:
    assert request(query).audio == audio


@pytest.mark.parametrize(
    ("query", "engine"),
    [
        ("model=nova-3&punctuate=true&smart_format=true&numerals=true&tag=a&unheard_of=1", {}),
        ("language=en-US", {"language": "en"}),
        ("language=zh-Hant-TW", {"language": "zh"}),
        ("language=jv", {"language": "jw"}),
        ("language=multi", {"language": "auto"}),
        ("detect_language=true", {"language": "auto"}),
        (
            "keyterm=Whisper&keyterm=hop of mel&keywords=frame:2&keywords=hop of mel",
            {"static_init_prompt": "Whisper, hop of mel, frame."},
        ),
        ("keyterm=&diarize=false&redact=false&multichannel=false&callback=", {}),
    ],
)
def test_settings_become_ours(query: str, engine: dict[str, str]) -> None:
    assert request(f"{LINEAR16}&{query}").engine == engine


@pytest.mark.parametrize(
    ("query", "voice"),
    [
        ("", {}),
        ("endpointing=true", {}),
        ("endpointing=false", {}),
        ("endpointing=500", {"vad_silence": 0.5}),
        ("endpointing=10", {"vad_silence": 0.3}),
        ("endpointing=60000", {"vad_silence": 10.0}),
    ],
)
def test_endpointing_says_how_much_silence_ends_an_utterance(query: str, voice: dict[str, float]) -> None:
    assert request(query).voice == voice


def test_drafts_are_asked_for_only_with_interim_results() -> None:
    assert not request(LINEAR16).drafts
    assert request("interim_results=true").drafts
    assert request("interim_results=True").drafts


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("encoding=opus", "linear16, linear32, mulaw, alaw; other audio comes in a container"),
        ("encoding=linear16", "sample_rate"),
        ("encoding=linear16&sample_rate=1", "8000-192000"),
        ("encoding=linear16&sample_rate=16000&channels=0", "1-8"),
        ("encoding=linear16&sample_rate=²", "a whole number"),
        ("sample_rate=99999999999999999999&encoding=mulaw", "a whole number"),
        ("language=klingon", "Whisper does not know"),
        ("language=fr", "base does not know"),
        ("endpointing=soon", "a whole number"),
        ("endpointing=-1", "a whole number"),
        ("utterance_end_ms=999999", "at most 60000"),
        ("interim_results=perhaps", "true or false"),
        ("diarize=true", "speakers are not told apart"),
        ("diarize_model=latest", "speakers are not told apart"),
        ("redact=false&redact=pci", "nothing is redacted"),
        ("replace=a:b", "no words are replaced"),
        ("search=a", "nothing is searched for"),
        ("detect_entities=true", "no entities"),
        ("callback=https://example.org", "on this connection only"),
        ("multichannel=true", "heard as one"),
    ],
)
def test_what_cannot_be_had_is_refused_with_status_400_and_a_reason(query: str, said: str) -> None:
    refused = refusal(query)
    denial = spoken(query).deny(refused)
    assert denial.status == 400
    assert said in json.loads(denial.body)["err_msg"]
    assert denial.headers["dg-request-id"] == json.loads(denial.body)["request_id"]


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.UNAUTHORIZED, 401, "INVALID_AUTH"),
        (Reason.ORIGIN, 403, "FORBIDDEN"),
        (Reason.TOO_MANY_CONNECTIONS, 429, "TOO_MANY_REQUESTS"),
        (Reason.NOT_READY, 503, "UNAVAILABLE"),
    ],
)
def test_each_refused_handshake_has_its_status(reason: Reason, status: int, code: str) -> None:
    denial = spoken().deny(Refusal(reason, "no\r\nway: é"))
    assert (denial.status, json.loads(denial.body)["err_code"]) == (status, code)
    assert denial.headers["dg-error"].isascii()
    assert denial.headers["dg-error"].isprintable()


@pytest.mark.parametrize(
    ("options", "token", "subprotocol"),
    [
        ({"headers": {"authorization": "Token a key"}}, "a key", None),
        ({"headers": {"authorization": "bearer key"}}, "key", None),
        ({"headers": {"authorization": "Basic key"}}, "", None),
        ({"subprotocols": ("token", "key")}, "key", "token"),
        ({"subprotocols": ("bearer", "key", "more")}, "key", "bearer"),
        ({"subprotocols": ("token",)}, "", None),
        ({"subprotocols": ("chat", "key")}, "", None),
        ({}, "", None),
    ],
)
def test_the_token_stands_in_the_header_or_in_the_subprotocols(
    options: dict[str, Any], token: str, subprotocol: str | None
) -> None:
    dialect = spoken(**options)
    assert (dialect.token(), dialect.subprotocol) == (token, subprotocol)


def test_multichannel_audio_of_one_channel_is_as_good_as_any() -> None:
    assert request(f"{LINEAR16}&multichannel=true&channels=1").audio == PcmFormat()


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
