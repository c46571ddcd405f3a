"""The protocol: what is said is understood, and what is not as described is refused by its name, whatever it is."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import AlignAttConfig, Word
from streaming.events import (
    AudioDropped,
    BackendChanged,
    Draft,
    Ended,
    Event,
    Failed,
    Flushed,
    Language,
    SpeechEnded,
    SpeechStarted,
    Words,
)
from streaming.protocols.native import (
    ENGINE_OPTIONS,
    VERSION,
    Ack,
    ClientMessage,
    Code,
    End,
    Flush,
    Hello,
    Numbered,
    ProtocolError,
    Ready,
    Received,
    Refused,
    Resume,
    ServerMessage,
    client_text,
    close_code,
    parse_client,
    parse_server,
    server_text,
)
from streaming.settings import PcmFormat, VoiceConfig

SAID: list[ClientMessage] = [
    Hello(),
    Hello(None, {"language": "de", "task": "translate", "beam_size": 2}, {"vad": False}, drafts=False),
    Hello(PcmFormat("mulaw", 8000, 2)),
    Resume("abc", 96_000, 7),
    Flush(),
    End(),
    Ack(3),
]
EVENTS: list[Event] = [
    Words((Word(" Hello", 0.125, 0.5, 0.75, "en"), Word(" naïve 🙂", 0.5, 1.0, 1.0)), 2.0),
    Draft(" and"),
    SpeechStarted(0.5),
    SpeechEnded(1.5),
    Language("de"),
    AudioDropped(1.0, 2.0),
    BackendChanged("coreml", "mlx", "it failed"),
    Flushed(3.0),
    Ended(4.0),
    Failed("engine", "it failed"),
]
TOLD: list[ServerMessage] = [
    Ready("abc", 0, False, 30.0),
    Received(96_000),
    Refused("idle", "nothing came"),
    *(Numbered(n, event) for n, event in enumerate(EVENTS, 1)),
]


@pytest.mark.parametrize("message", SAID, ids=str)
def test_what_a_client_says_is_understood(message: ClientMessage) -> None:
    assert parse_client(client_text(message)) == message


@pytest.mark.parametrize("message", TOLD, ids=str)
def test_what_a_server_says_is_understood(message: ServerMessage) -> None:
    assert parse_server(server_text(message)) == message


def test_all_but_the_version_may_be_left_out() -> None:
    assert parse_client('{"type": "hello", "version": 1}') == Hello()


def test_what_is_not_asked_for_is_as_the_server_has_it() -> None:
    defaults, voice = AlignAttConfig(language="fr", beam_size=3), VoiceConfig(vad_silence=2.0)
    hello = Hello(engine={"beam_size": 2}, voice={"vad": False})
    assert hello.config(defaults) == replace(defaults, beam_size=2)
    assert hello.voice_config(voice) == replace(voice, vad=False)


def test_a_client_passes_over_what_it_does_not_know() -> None:
    assert parse_server('{"type": "weather", "seq": 3}') is None
    assert parse_server('{"type": "draft", "seq": 3, "text": "a", "colour": "red"}') == Numbered(3, Draft("a"))


def test_a_word_says_its_language() -> None:
    told = json.loads(server_text(Numbered(1, Words((Word(" schön", 0.0, 0.5, 1.0, "de"),), 1.0))))
    assert told["words"] == [{"text": " schön", "start_s": 0.0, "end_s": 0.5, "probability": 1.0, "language": "de"}]


def test_an_older_server_does_not_tell_the_language_of_a_word() -> None:
    word = '{"text": " schön", "start_s": 0.0, "end_s": 0.5, "probability": 1.0}'
    told = parse_server(f'{{"type": "words", "seq": 1, "text": " schön", "words": [{word}], "heard_s": 1.0}}')
    assert told == Numbered(1, Words((Word(" schön", 0.0, 0.5, 1.0, None),), 1.0))


def said(**values: Any) -> str:
    return json.dumps({"type": "hello", "version": VERSION, **values})


BAD = [
    ("", Code.BAD_JSON),
    ("hello", Code.BAD_JSON),
    ('{"type": "hello", "version": NaN}', Code.BAD_JSON),
    ('{"type": "ack", "seen": ' + "9" * 5000 + "}", Code.BAD_JSON),
    ("[" * 16_000, Code.BAD_JSON),
    ("[]", Code.BAD_JSON),
    ("null", Code.BAD_JSON),
    (" " * 20_000, Code.MESSAGE_TOO_BIG),
    ("{}", Code.UNKNOWN_TYPE),
    ('{"type": ["hello"]}', Code.UNKNOWN_TYPE),
    ('{"type": "ready"}', Code.UNKNOWN_TYPE),
    ('{"type": "hello"}', Code.UNSUPPORTED_VERSION),
    ('{"type": "hello", "version": 2}', Code.UNSUPPORTED_VERSION),
    ('{"type": "hello", "version": true}', Code.UNSUPPORTED_VERSION),
    ('{"type": "hello", "version": 1.0}', Code.UNSUPPORTED_VERSION),
    (said(colour="red"), Code.UNKNOWN_KEY),
    (said(**{"\ud800": 1}), Code.UNKNOWN_KEY),
    (said(format={"bits": 16}), Code.UNKNOWN_KEY),
    (said(format={"encoding": "container", "rate": 16000}), Code.UNKNOWN_KEY),
    (said(options={"model_path": "/etc"}), Code.UNKNOWN_KEY),
    (said(options={"vad_speed": 1}), Code.UNKNOWN_KEY),
    (said(resume={"session": "a", "sent_bytes": 0, "seen": 0}, language="en"), Code.UNKNOWN_KEY),
    (said(format=[]), Code.BAD_VALUE),
    (said(options="none"), Code.BAD_VALUE),
    (said(options={"drafts": 1}), Code.BAD_VALUE),
    (said(resume={}), Code.BAD_VALUE),
    (said(resume={"session": "a", "sent_bytes": -1, "seen": 0}), Code.BAD_VALUE),
    (said(resume={"session": "a", "sent_bytes": 1.5, "seen": 0}), Code.BAD_VALUE),
    ('{"type": "ack"}', Code.BAD_VALUE),
    ('{"type": "end", "now": true}', Code.UNKNOWN_KEY),
    (said(format={"encoding": "s24le"}), Code.AUDIO_FORMAT),
    (said(format={"encoding": {}}), Code.AUDIO_FORMAT),
    (said(format={"rate": 0}), Code.AUDIO_FORMAT),
    (said(format={"rate": "16000"}), Code.AUDIO_FORMAT),
    (said(format={"channels": 50}), Code.AUDIO_FORMAT),
    (said(language=7), Code.CONFIG),
    (said(task="sing"), Code.CONFIG),
    (said(options={"beam_size": 1000}), Code.CONFIG),
    (said(options={"padding_len": 10**17}), Code.CONFIG),
    (said(options={"vad_silence": "long"}), Code.CONFIG),
    (said(options={"segment_length": 0.02}), Code.CONFIG),
    (said(options={"last_word": "cif"}), Code.CONFIG),
]


@pytest.mark.parametrize(("text", "code"), BAD, ids=[f"{n}-{code.value}" for n, (_, code) in enumerate(BAD)])
def test_what_is_not_as_described_is_refused_by_name(text: str, code: Code) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_client(text)
    assert caught.value.code == code.value
    assert len(str(caught.value)) < 700
    assert str(caught.value).isascii()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["type", "version", "format", "language", "task", "options", "resume", "seen", "encoding", "rate", "session"]
)


@given(st.text() | ANYTHING.map(json.dumps))
def test_any_text_is_understood_or_refused(text: str) -> None:
    _understood_or_refused(text)


@given(st.sampled_from(["hello", "ack", "flush", "end"]), st.dictionaries(KEYS | st.text(max_size=3), ANYTHING))
def test_anything_in_a_message_is_understood_or_refused(kind: str, values: dict[str, Any]) -> None:
    _understood_or_refused(json.dumps({"version": VERSION, **values, "type": kind}))


@given(st.dictionaries(st.sampled_from([*ENGINE_OPTIONS, "vad", "vad_silence", "drafts"]), ANYTHING))
def test_any_option_is_understood_or_refused(options: dict[str, Any]) -> None:
    _understood_or_refused(json.dumps({"type": "hello", "version": VERSION, "options": options}))


def _understood_or_refused(text: str) -> None:
    message: ClientMessage | Refused
    try:
        message = parse_client(text)
    except ProtocolError as error:
        message = Refused(error.code, str(error))
    if isinstance(message, Refused):
        assert message.code in [each.value for each in Code]
        assert parse_server(server_text(message)) == message
    else:
        assert parse_client(client_text(message)) == message


@given(st.text() | ANYTHING.map(json.dumps))
def test_a_damaged_answer_is_understood_or_an_error_of_its_own(text: str) -> None:
    with suppress(ProtocolError):
        parse_server(text)


def test_every_refusal_has_a_close_code() -> None:
    assert {code.value: close_code(code.value) for code in Code if close_code(code.value) != 1008} == {
        "too_many_connections": 1013,
        "too_many_sessions": 1013,
        "not_ready": 1013,
        "overloaded": 1013,
        "stopping": 1012,
        "message_too_big": 1009,
        "internal": 1011,
    }
