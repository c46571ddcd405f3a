"""The protocol: what is said is understood, and what is not as described is refused by its name, whatever it is."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper import AlignAttConfig, Word, language_names
from streaming.events import (
    AudioDropped,
    BackendChanged,
    Cleared,
    CutShort,
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
    Spoken,
    Translation,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.protocols.dialect import Clear, End, Flush, Speech, Targets, close_code
from streaming.protocols.native import (
    VERSION,
    Ack,
    ClientMessage,
    Numbered,
    Ready,
    Received,
    Refused,
    Resume,
    ServerMessage,
    client_text,
    parse_client,
    parse_server,
    server_message,
    server_text,
)
from streaming.protocols.reading import ProtocolError
from streaming.sessions.request import ENGINE_OPTIONS, SessionRequest
from streaming.settings import PcmFormat, VoiceConfig

SAID: list[ClientMessage] = [
    SessionRequest(),
    SessionRequest(None, {"language": "de", "task": "translate", "beam_size": 2}, {"vad": False}, drafts=False),
    SessionRequest(PcmFormat("mulaw", 8000, 2)),
    Resume("abc", 96_000, 7),
    SessionRequest(targets=("de", "fr")),
    SessionRequest(model="large-v3-turbo"),
    Targets(("es", "yue")),
    Targets(()),
    Flush(),
    Clear(),
    End(),
    Ack(3),
]
EVENTS: list[Event] = [
    Words((Word(" Hello", 0.125, 0.5, 0.75, "en"), Word(" naïve 🙂", 0.5, 1.0, 1.0)), 2.0),
    Draft((Word(" and", 1.0, 1.25, 0.5, "en"),), 2),
    Translation("de", (Word(" Hallo", 0.125, 0.5, 0.75, "de"),), 0.0, 0.5),
    TranslationDraft("de", (Word(" Welt", 0.5, 0.75, 0.5, "de"),), 2),
    TranslationSkipped("de", 4.0, 9.5, "the translator is too slow"),
    SpeechStarted(0.5),
    SpeechEnded(1.5),
    Language("de"),
    AudioDropped(1.0, 2.0),
    CutShort(2.5, 3),
    BackendChanged("coreml", "mlx", "it failed"),
    BackendChanged("coreml", "mlx", "it failed", "decoder"),
    Flushed(3.0),
    Cleared(3.5),
    Recognised(4.0),
    Ended(4.0),
    Failed(Reason.ENGINE, "it failed"),
]
TOLD: list[ServerMessage] = [
    Ready("abc", 0, False, 30.0),
    Ready("abc", 0, True, 30.0, {"beam_size": 5, "segment_length": 0.2}),
    Ready("abc", 0, True, 30.0, {}, ("en", "es")),
    Ready("abc", 0, True, 30.0, {}, ()),
    Received(96_000),
    Refused(Reason.IDLE, "nothing came"),
    *(Numbered(n, event) for n, event in enumerate(EVENTS, 1)),
]


@pytest.mark.parametrize("message", SAID, ids=str)
def test_what_a_client_says_is_understood(message: ClientMessage) -> None:
    assert parse_client(client_text(message)) == message


@pytest.mark.parametrize("message", TOLD, ids=str)
def test_what_a_server_says_is_understood(message: ServerMessage) -> None:
    assert parse_server(server_text(message)) == message


def test_all_but_the_version_may_be_left_out() -> None:
    assert parse_client('{"type": "hello", "version": 1}') == SessionRequest()


def test_targets_may_be_names_and_are_codes() -> None:
    hello = parse_client(said(targets=["Deutsch", "pt-BR", "de"]))
    assert isinstance(hello, SessionRequest)
    assert hello.targets == ("de", "pt")
    assert parse_client('{"type": "targets", "targets": ["Spanish", "es"]}') == Targets(("es",))


def test_what_is_not_asked_for_is_as_the_server_has_it() -> None:
    defaults, voice = AlignAttConfig(language="fr", beam_size=3), VoiceConfig(vad_silence=2.0)
    hello = SessionRequest(engine={"beam_size": 2}, voice={"vad": False})
    assert hello.engine_config(defaults) == replace(defaults, beam_size=2)
    assert hello.voice_config(voice) == replace(voice, vad=False)


def test_a_client_passes_over_what_it_does_not_know() -> None:
    assert parse_server('{"type": "weather"}') is None
    assert parse_server('{"type": "weather", "seq": 3}') == Numbered(3, None)
    flushed = '{"type": "flushed", "seq": 3, "at_s": 1.5, "colour": "red"}'
    assert parse_server(flushed) == Numbered(3, Flushed(1.5))
    assert parse_server('{"type": "error", "code": "moon", "message": "full"}') == Refused(Reason.UNKNOWN, "full")
    full = Refused(Reason.TOO_MANY_SESSIONS, "full", 12.5)
    assert json.loads(server_text(full))["retry_after_s"] == 12.5
    assert parse_server(server_text(full)) == full
    assert "retry_after_s" not in server_text(Refused(Reason.CONFIG, "no"))


def test_an_older_server_tells_a_draft_as_text() -> None:
    told = parse_server('{"type": "draft", "seq": 3, "text": " a b"}')
    assert isinstance(told, Numbered)
    assert isinstance(told.event, Draft)
    assert told.event.text == " a b"


def test_an_older_server_does_not_tell_what_it_translates_into() -> None:
    ready = '{"type": "ready", "session": "a", "received_bytes": 0, "has_end": false, "resume_s": 30}'
    assert parse_server(ready) == Ready("a", 0, False, 30)


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
    ("", Reason.BAD_JSON),
    ("hello", Reason.BAD_JSON),
    ('{"type": "hello", "version": NaN}', Reason.BAD_JSON),
    ('{"type": "ack", "seen": ' + "9" * 5000 + "}", Reason.BAD_JSON),
    ("[" * 16_000, Reason.BAD_JSON),
    ("[]", Reason.BAD_JSON),
    ("null", Reason.BAD_JSON),
    (" " * 20_000, Reason.MESSAGE_TOO_BIG),
    ("{}", Reason.UNKNOWN_TYPE),
    ('{"type": ["hello"]}', Reason.UNKNOWN_TYPE),
    ('{"type": "ready"}', Reason.UNKNOWN_TYPE),
    ('{"type": "hello"}', Reason.UNSUPPORTED_VERSION),
    ('{"type": "hello", "version": 2}', Reason.UNSUPPORTED_VERSION),
    ('{"type": "hello", "version": true}', Reason.UNSUPPORTED_VERSION),
    ('{"type": "hello", "version": 1.0}', Reason.UNSUPPORTED_VERSION),
    (said(colour="red"), Reason.UNKNOWN_KEY),
    (said(**{"\ud800": 1}), Reason.UNKNOWN_KEY),
    (said(format={"bits": 16}), Reason.UNKNOWN_KEY),
    (said(format={"encoding": "container", "rate": 16000}), Reason.UNKNOWN_KEY),
    (said(options={"model_path": "/etc"}), Reason.UNKNOWN_KEY),
    (said(options={"vad_speed": 1}), Reason.UNKNOWN_KEY),
    (said(resume={"session": "a", "sent_bytes": 0, "seen": 0}, language="en"), Reason.UNKNOWN_KEY),
    (said(format=[]), Reason.BAD_VALUE),
    (said(options="none"), Reason.BAD_VALUE),
    (said(options={"drafts": 1}), Reason.BAD_VALUE),
    (said(targets="es"), Reason.BAD_VALUE),
    (said(targets=["es", 7]), Reason.BAD_VALUE),
    (said(targets=["es"] * 1000), Reason.BAD_VALUE),
    ('{"type": "targets"}', Reason.BAD_VALUE),
    ('{"type": "targets", "targets": {"es": 1}}', Reason.BAD_VALUE),
    ('{"type": "targets", "targets": [], "now": true}', Reason.UNKNOWN_KEY),
    (said(resume={}), Reason.BAD_VALUE),
    (said(resume={"session": "a", "sent_bytes": -1, "seen": 0}), Reason.BAD_VALUE),
    (said(resume={"session": "a", "sent_bytes": 1.5, "seen": 0}), Reason.BAD_VALUE),
    ('{"type": "ack"}', Reason.BAD_VALUE),
    ('{"type": "end", "now": true}', Reason.UNKNOWN_KEY),
    (said(format={"encoding": "s24le"}), Reason.AUDIO_FORMAT),
    (said(format={"encoding": {}}), Reason.AUDIO_FORMAT),
    (said(format={"rate": 0}), Reason.AUDIO_FORMAT),
    (said(format={"rate": "16000"}), Reason.AUDIO_FORMAT),
    (said(format={"channels": 50}), Reason.AUDIO_FORMAT),
    (said(language=7), Reason.CONFIG),
    (said(task="sing"), Reason.CONFIG),
    (said(options={"beam_size": 1000}), Reason.CONFIG),
    (said(options={"padding_len": 10**17}), Reason.CONFIG),
    (said(options={"vad_silence": "long"}), Reason.CONFIG),
    (said(options={"segment_length": 0.01}), Reason.CONFIG),
    (said(options={"last_word": "cif"}), Reason.CONFIG),
    (said(options={"init_prompt": "a\ud800"}), Reason.CONFIG),
    (said(options={"static_init_prompt": "\udc80"}), Reason.CONFIG),
    (said(language="\ud800"), Reason.CONFIG),
    (said(targets=["klingon"]), Reason.CONFIG),
    (said(targets=["auto"]), Reason.CONFIG),
    (said(targets=["e" * 16_000]), Reason.CONFIG),
    (said(targets=["\ud800"]), Reason.CONFIG),
    ('{"type": "targets", "targets": ["klingon"]}', Reason.CONFIG),
]


@pytest.mark.parametrize(("text", "code"), BAD, ids=[f"{n}-{code.value}" for n, (_, code) in enumerate(BAD)])
def test_what_is_not_as_described_is_refused_by_name(text: str, code: Reason) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_client(text)
    assert caught.value.reason is code
    assert len(str(caught.value)) < 700
    assert str(caught.value).isascii()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from("type version format language task options resume seen encoding rate session targets".split())


@given(st.text() | ANYTHING.map(json.dumps))
def test_any_text_is_understood_or_refused(text: str) -> None:
    _understood_or_refused(text)


@given(
    st.sampled_from(["hello", "ack", "flush", "end", "targets"]), st.dictionaries(KEYS | st.text(max_size=3), ANYTHING)
)
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
        message = Refused(error.reason, str(error))
    if isinstance(message, Refused):
        assert parse_server(server_text(message)) == message
    else:
        assert parse_client(client_text(message)) == message


@given(st.text() | ANYTHING.map(json.dumps))
def test_a_damaged_answer_is_understood_or_an_error_of_its_own(text: str) -> None:
    with suppress(ProtocolError):
        parse_server(text)


TEXTS, NUMBERS = st.text(max_size=12), st.integers(0, 10**9)
# Told to the millisecond.
SECONDS = st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000)
WORDS = st.lists(st.builds(Word, TEXTS, SECONDS, SECONDS, SECONDS, st.none() | TEXTS), max_size=3).map(tuple)
TARGETS = st.lists(st.sampled_from(sorted(language_names())), max_size=8, unique=True).map(tuple)
VALID_SAID: st.SearchStrategy[ClientMessage] = st.one_of(
    st.builds(Resume, TEXTS, NUMBERS, NUMBERS),
    st.builds(Ack, NUMBERS),
    st.builds(Targets, TARGETS),
    st.builds(
        SessionRequest,
        st.none() | st.builds(PcmFormat, st.sampled_from(["s16le", "f32le", "mulaw"]), st.integers(8000, 192_000)),
        st.fixed_dictionaries(
            {}, optional={"init_prompt": TEXTS, "terms": st.just(["Ada"]), "beam_size": st.integers(1, 16)}
        ),
        st.fixed_dictionaries({}, optional={"vad": st.booleans()}),
        TARGETS,
        st.booleans(),
    ),
)
VALID_TOLD: st.SearchStrategy[ServerMessage] = st.one_of(
    st.builds(Ready, TEXTS, NUMBERS, st.booleans(), SECONDS, st.none(), st.none() | TARGETS),
    st.builds(Refused, st.sampled_from(Reason), TEXTS),
    st.builds(
        Numbered,
        NUMBERS,
        st.one_of(
            st.builds(Words, WORDS, SECONDS, NUMBERS),
            st.builds(Draft, WORDS, NUMBERS),
            st.builds(Translation, TEXTS, WORDS, SECONDS, SECONDS, NUMBERS),
            st.builds(TranslationDraft, TEXTS, WORDS, NUMBERS),
            st.builds(TranslationSkipped, TEXTS, SECONDS, SECONDS, TEXTS),
            st.builds(Failed, st.sampled_from(Reason), TEXTS),
        ),
    ),
)


@given(VALID_SAID)
def test_whatever_a_client_may_say_comes_back_as_it_was(message: ClientMessage) -> None:
    assert parse_client(client_text(message)) == message


@given(VALID_TOLD)
def test_whatever_a_server_may_say_comes_back_as_it_was(message: ServerMessage) -> None:
    assert parse_server(server_text(message)) == message


def test_every_refusal_has_a_close_code() -> None:
    assert {reason.value: close_code(reason) for reason in Reason if close_code(reason) != 1008} == {
        "too_many_connections": 1013,
        "too_many_sessions": 1013,
        "not_ready": 1013,
        "overloaded": 1013,
        "stopping": 1012,
        "message_too_big": 1009,
        "engine": 1011,
        "stopped": 1011,
        "internal": 1011,
    }


SOUND = Spoken("es", "¡Hola!", b"\1\2\3\4", 22_050, 0.5, 1.25, False, 3)


@given(st.text(), st.binary().map(lambda data: data[: len(data) & ~1]), st.integers(1, 192_000))
def test_sound_goes_both_ways_and_its_samples_are_aligned(text: str, pcm: bytes, rate: int) -> None:
    spoken = replace(SOUND, text=text, pcm=pcm, rate=rate)
    written = server_message(Numbered(7, spoken))
    assert isinstance(written, bytes)
    assert parse_server(written) == Numbered(7, spoken)
    assert (len(written) - len(pcm)) % 2 == 0


@given(st.integers(0, 200))
def test_damaged_sound_is_an_error_and_never_another_sound(at: int) -> None:
    written = server_message(Numbered(7, SOUND))
    assert isinstance(written, bytes)
    cut = written[: min(at, len(written) - 5)]
    with pytest.raises(ProtocolError):
        parse_server(cut)


def test_sound_of_another_version_is_passed_over() -> None:
    written = server_message(Numbered(7, SOUND))
    assert isinstance(written, bytes)
    assert parse_server(b"\2" + written[1:]) is None


@pytest.mark.parametrize("speech", ["es", [3], [["es"]], ["xx"], None, ["es"] * 9, {"es": 1}])
def test_what_is_no_list_of_texts_cannot_be_spoken(speech: Any) -> None:
    with pytest.raises(ProtocolError):
        parse_client(json.dumps({"type": "speech", "speech": speech}))


def test_the_transcript_is_spoken_by_its_name() -> None:
    assert parse_client('{"type": "speech", "speech": ["es", "transcript", ""]}') == Speech(("", "es"))
    assert parse_client(client_text(Speech(("", "es")))) == Speech(("", "es"))
