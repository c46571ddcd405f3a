"""OpenAI's Realtime transcription: what is set and shown, items and their marks, and one session after another."""

import base64
import json
from typing import Any

import pytest

from simul_whisper import Word
from streaming.events import Cleared, Ended, Event, Failed, Flushed, Reason, SpeechEnded, SpeechStarted, Words
from streaming.protocols.dialect import Audio, Clear, Command, End, Flush, Handshake, Open, Say, Served
from streaming.protocols.openai_realtime import OpenAIRealtime
from streaming.protocols.reading import ProtocolError
from streaming.sessions.request import Refusal
from streaming.settings import PcmFormat
from tests.dialects.openai_realtime import CLEAR, COMMIT, COMPLETED, DELTA, FAILED, MANUAL, append, update

SECOND = append(bytes(48_000))


def dialect(**handshake: Any) -> OpenAIRealtime:
    served = Served("base", ("whisper-1", "gpt-realtime-whisper"), ("en", "de"), ("transcribe",), (), "1")
    return OpenAIRealtime(Handshake("me", 1_000.0, **handshake), served)


def hear(spoken: OpenAIRealtime, *messages: str) -> list[Command]:
    return [command for message in messages for command in spoken.hear(message, 0.0)]


def told(replies: list[Any] | list[Command]) -> list[dict[str, Any]]:
    """What is said by commands, or replied."""
    said = [reply for each in replies for reply in (each.replies if isinstance(each, Say) else [each])]
    return [json.loads(each) for each in said if isinstance(each, str)]


def tell(spoken: OpenAIRealtime, *events: Event) -> list[dict[str, Any]]:
    return [event for each in events for event in told(spoken.tell(each, 0.0))]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [each["type"].removeprefix("conversation.item.").removeprefix("input_audio_") for each in events]


def words(text: str, at_s: float = 0.0) -> Words:
    return Words(tuple(Word(f" {each}", at_s, at_s + 0.1, 0.5, "en") for each in text.split()), at_s + 0.2)


def session_of(commands: list[Command]) -> Any:
    return told(commands)[-1]["session"]


def requested(*updates: str) -> Any:
    """The request for the session that the next audio opens."""
    (opened,) = [each for each in hear(dialect(), *updates, SECOND) if isinstance(each, Open)]
    return opened.request


# What is set, and shown


def test_the_usual_session_is_that_of_the_service() -> None:
    (created,) = told(dialect().begin())
    assert created["type"] == "session.created"
    heard = created["session"]["audio"]["input"]
    assert heard["format"] == {"type": "audio/pcm", "rate": 24_000}
    usual = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
    assert heard["turn_detection"] == usual
    request = requested()
    assert request.audio == PcmFormat("s16le", 24_000)
    assert not request.drafts
    assert request.voice == {"vad": True, "vad_threshold": 0.5, "vad_lead_in": 0.3, "vad_silence": 0.5}
    assert request.engine == {}


def test_settings_become_ours() -> None:
    transcription = {"model": "whisper-1", "language": "EN-us", "prompt": "a", "keywords": ["b", "c"], "delay": "low"}
    turn = {"type": "server_vad", "threshold": 1, "silence_duration_ms": 350}
    request = requested(update(transcription=transcription, turn_detection=turn, format={"type": "audio/pcmu"}))
    assert request.engine == {
        "language": "en",
        "init_prompt": "a",
        "terms": ("b", "c"),
        "frame_threshold": 12,
    }
    assert request.voice == {"vad": True, "vad_threshold": 0.95, "vad_lead_in": 0.3, "vad_silence": 0.35}
    assert request.audio == PcmFormat("mulaw", 8_000)
    assert requested(MANUAL).voice == {"vad": False}
    several = requested(update(transcription={"languages": ["en", "de"]})).engine
    assert several == {"language": "auto", "languages": ("en", "de")}
    for written in ("de", "de-AT", "ger", "German"):
        assert requested(update(transcription={"languages": [written]})).engine == {"language": "de"}
    high = requested(update(turn_detection={"type": "semantic_vad", "eagerness": "high"}))
    assert high.voice["vad_silence"] < requested(update(turn_detection={"type": "semantic_vad"})).voice["vad_silence"]


def test_what_is_missing_keeps_and_null_clears() -> None:
    spoken = dialect()
    hear(spoken, update(transcription={"language": "de", "prompt": "a"}, turn_detection={"silence_duration_ms": 900}))
    kept = session_of(hear(spoken, update(transcription={"prompt": None}, turn_detection={"threshold": 0.7})))
    assert kept["audio"]["input"]["transcription"] == {"model": "base", "language": "de", "prompt": None}
    assert kept["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 900
    assert kept["audio"]["input"]["turn_detection"]["threshold"] == 0.7
    other = session_of(hear(spoken, update(transcription={"languages": ["en"]})))
    assert other["audio"]["input"]["transcription"]["language"] is None
    cleared = session_of(hear(spoken, update(transcription=None, turn_detection=None)))
    assert cleared["audio"]["input"]["transcription"]["language"] is None
    assert cleared["audio"]["input"]["turn_detection"] is None


def test_models_without_voice_activity_at_the_service_have_none_unless_it_is_chosen() -> None:
    live = {"model": "gpt-realtime-whisper"}
    assert requested(update(transcription=live)).voice == {"vad": False}
    assert requested(update(transcription=live, turn_detection={"type": "server_vad"})).voice["vad"]


def test_the_older_shape_is_answered_in_its_own() -> None:
    spoken = dialect(headers={"openai-beta": "realtime=v1"})
    assert told(spoken.begin())[0]["type"] == "transcription_session.created"
    session = {
        "input_audio_format": "g711_alaw",
        "input_audio_transcription": {"model": "whisper-1", "language": "en"},
        "turn_detection": None,
        "input_audio_noise_reduction": {"type": "near_field"},
    }
    commands = hear(spoken, json.dumps({"type": "transcription_session.update", "session": session}), SECOND)
    (updated,) = told(commands[:1])
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["input_audio_format"] == "g711_alaw"
    assert updated["session"]["turn_detection"] is None
    (opened,) = [each for each in commands if isinstance(each, Open)]
    assert (opened.request.audio, opened.request.voice) == (PcmFormat("alaw", 8_000), {"vad": False})


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("hello", None),
        ("[]", None),
        ('{"type": "response.create"}', "type"),
        ('{"type": "input_audio_buffer.append", "audio": "AAA"}', "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "A AA"}', "audio"),
        ('{"type": "input_audio_buffer.append"}', "audio"),
        ('{"type": "input_audio_buffer.commit"}', None),
        ('{"type": "session.update", "session": {"type": "realtime"}}', "session.type"),
        ('{"type": "session.update", "session": {"voice": "alloy"}}', "session.voice"),
        ('{"type": "session.update", "session": {"include": ["x"]}}', "session.include"),
        ('{"type": "session.update", "session": 3}', "session"),
        (update(format={"type": "audio/pcm", "rate": 16_000}), "session.audio.input.format.rate"),
        (update(format={"type": "audio/opus"}), "session.audio.input.format.type"),
        (update(transcription={"model": "gpt-nothing"}), "session.audio.input.transcription.model"),
        (update(transcription={"language": "xx"}), "session.audio.input.transcription.language"),
        (update(transcription={"delay": 3}), "session.audio.input.transcription.delay"),
        (update(transcription={"keywords": "a"}), "session.audio.input.transcription.keywords"),
        (update(transcription={"prompt": "a" * 5_000}), "session"),
        (update(turn_detection={"type": "server_vad", "threshold": 2}), "session.audio.input.turn_detection.threshold"),
        (
            update(turn_detection={"silence_duration_ms": True}),
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        (update(turn_detection={"type": "none"}), "session.audio.input.turn_detection.type"),
        (update(noise_reduction={"type": "loud"}), "session.audio.input.noise_reduction.type"),
        (update(noise_reduction=[{}] * 8_000), None),
    ],
)
def test_what_cannot_be_obeyed_is_told_and_the_session_goes_on(message: str, param: str | None) -> None:
    spoken = dialect()
    with pytest.raises(ProtocolError) as caught:
        spoken.hear(message, 0.0)
    (error,) = told(spoken.refuse(caught.value))
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert error["error"]["param"] == param
    assert "session.updated" in kinds(told(hear(spoken, MANUAL)))


def test_base64_of_any_length_is_read_and_nothing_else() -> None:
    for n in range(1, 9):
        (_, audio) = hear(dialect(), append(bytes(range(n))))
        assert audio == Audio(bytes(range(n)))
    for bad in ("=", "A===", "AA=A", "AA\n==", "é", base64.b64encode(b"abc").decode() + "!"):
        with pytest.raises(ProtocolError):
            dialect().hear(json.dumps({"type": "input_audio_buffer.append", "audio": bad}), 0.0)


def test_an_error_names_the_event_that_brought_it_and_no_other() -> None:
    spoken = dialect()
    with pytest.raises(ProtocolError) as caught:
        spoken.hear('{"type": "nothing", "event_id": "mine"}', 0.0)
    assert told(spoken.refuse(caught.value))[0]["error"]["event_id"] == "mine"
    spoken.hear('{"type": "input_audio_buffer.clear", "event_id": "other"}', 0.0)
    idle = spoken.refuse(Refusal(Reason.IDLE, "nothing came"))
    assert told(idle[:1])[0]["error"]["event_id"] is None
    assert len(idle) == 2


def test_an_error_says_when_to_come_back_where_that_is_known() -> None:
    full, idle = Refusal(Reason.TOO_MANY_SESSIONS, "full", 12.34), Refusal(Reason.IDLE, "nothing came")
    assert told(dialect().refuse(full)[:1])[0]["error"]["retry_after_s"] == 12.3
    assert "retry_after_s" not in told(dialect().refuse(idle)[:1])[0]["error"]
    denial = dialect().deny(full)
    assert denial
    assert (denial.status, denial.headers["retry-after"]) == (429, "13")


@pytest.mark.parametrize("query", [{"intent": ["conversation"]}, {"model": ["gpt-realtime"]}])
def test_another_service_than_transcription_is_refused(query: dict[str, list[str]]) -> None:
    with pytest.raises(ProtocolError):
        dialect(query=query).begin()
    dialect(query={"model": ["whisper-1"], "intent": ["transcription"]}).begin()


def test_a_key_comes_as_a_header_or_as_browsers_can_show_it() -> None:
    assert dialect(headers={"authorization": "Bearer a"}).token() == "a"
    spoken = dialect(subprotocols=("realtime", "openai-insecure-api-key.b", "openai-beta.realtime-v1"))
    assert (spoken.token(), spoken.subprotocol) == ("b", "realtime")
    assert dialect().subprotocol is None


# Items


def test_a_commit_makes_an_item_whose_deltas_are_its_transcript() -> None:
    spoken = dialect()
    commands = hear(spoken, MANUAL, SECOND, COMMIT)
    assert [type(each) for each in commands] == [Say, Open, Audio, Say, Flush]
    committed = told(commands[-2:-1])
    assert kinds(committed) == ["buffer.committed", "created", "added", "done"]
    first = committed[0]["item_id"]
    deltas = tell(spoken, words("one two"), words("three"))
    (completed,) = tell(spoken, Flushed(1.0))
    assert [each["delta"] for each in deltas] == ["one two", " three"]
    assert {each["item_id"] for each in [*deltas, completed]} == {first}
    assert completed["transcript"] == "one two three"
    assert completed["usage"] == {"type": "duration", "seconds": 1.0}
    assert completed["languages"] == [{"code": "en"}]
    second = told(hear(spoken, SECOND, COMMIT))[0]
    assert (second["previous_item_id"], second["item_id"] != first) == (first, True)
    assert kinds(tell(spoken, Flushed(2.0))) == ["transcription.completed"]


def test_words_belong_to_the_commit_that_comes_after_them() -> None:
    spoken = dialect()
    hear(spoken, MANUAL, SECOND)
    (early,) = tell(spoken, words("one"))
    first = told(hear(spoken, COMMIT))[0]["item_id"]
    second = told(hear(spoken, SECOND, COMMIT))[0]["item_id"]
    assert early["item_id"] == first
    events = tell(spoken, words("two"), Flushed(1.0), words("three"), Flushed(2.0), words("four"))
    assert [each["item_id"] for each in events[:4]] == [first, first, second, second]
    assert [each["transcript"] for each in events if each["type"] == COMPLETED] == ["one two", "three"]
    assert events[4]["item_id"] not in (first, second)


def test_a_clear_gives_up_what_is_not_committed_and_nothing_else() -> None:
    spoken = dialect()
    hear(spoken, MANUAL, SECOND)
    tell(spoken, words("one"))
    assert Clear() in hear(spoken, CLEAR)
    assert tell(spoken, words("late"), Cleared(1.0)) == []
    hear(spoken, SECOND, COMMIT)
    commands = hear(spoken, SECOND, CLEAR)
    assert Flush() in commands
    assert Clear() not in commands
    assert kinds(told(commands)) == ["buffer.cleared"]
    events = tell(spoken, words("two"), Flushed(2.0), words("three"), Flushed(3.0), words("four"))
    assert [each["transcript"] for each in events if each["type"] == COMPLETED] == ["two"]
    assert [each["delta"] for each in events if each["type"] == DELTA] == ["two", "four"]
    assert kinds(told(hear(dialect(), CLEAR))) == ["buffer.cleared"]


def test_two_clears_may_be_one() -> None:
    spoken = dialect()
    hear(spoken, MANUAL, SECOND, CLEAR, SECOND, CLEAR, SECOND, COMMIT)
    events = tell(spoken, Cleared(2.0), words("one"), Flushed(3.0))
    assert [each["transcript"] for each in events if each["type"] == COMPLETED] == ["one"]


def test_speech_begins_and_ends_items() -> None:
    spoken = dialect()
    hear(spoken, append(bytes(3 * 48_000)))
    events = tell(spoken, SpeechStarted(1.0), words("one"), SpeechEnded(2.0))
    started, delta, stopped, committed, *_, completed = events
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (700, 2_500)
    assert kinds(events)[2:] == [
        "buffer.speech_stopped",
        "buffer.committed",
        "created",
        "added",
        "done",
        "transcription.completed",
    ]
    assert len({each["item_id"] for each in (started, delta, stopped, committed, completed)}) == 1
    assert completed["usage"]["seconds"] == 1.8


def test_a_commit_by_hand_ends_speech_or_makes_an_empty_item() -> None:
    spoken = dialect()
    assert hear(spoken, SECOND, COMMIT)[-1] == Flush()
    events = tell(spoken, SpeechStarted(0.5), words("one"), SpeechEnded(0.9), Flushed(1.0))
    assert [each["transcript"] for each in events if each["type"] == COMPLETED] == ["one"]
    hear(spoken, SECOND, COMMIT)
    events = tell(spoken, Flushed(2.0))
    assert kinds(events)[0] == "buffer.committed"
    assert events[-1]["transcript"] == ""


def test_a_clear_in_speech_ends_it_without_an_item() -> None:
    spoken = dialect()
    hear(spoken, SECOND)
    tell(spoken, SpeechStarted(0.5))
    hear(spoken, CLEAR)
    assert kinds(tell(spoken, SpeechEnded(0.9), Cleared(1.0))) == ["buffer.speech_stopped"]


def test_logarithms_are_told_when_they_are_asked_for() -> None:
    spoken = dialect()
    include = {"type": "transcription", "include": ["item.input_audio_transcription.logprobs"]}
    hear(spoken, MANUAL, json.dumps({"type": "session.update", "session": include}), SECOND, COMMIT)
    delta, completed = tell(spoken, words("one two"), Flushed(1.0))
    assert [each["token"] for each in delta["logprobs"]] == ["one", " two"]
    assert delta["logprobs"][0]["bytes"] == list(b"one")
    assert delta["logprobs"][0]["logprob"] == pytest.approx(-0.693, abs=0.001)
    assert completed["logprobs"] == delta["logprobs"]


def test_settings_in_the_middle_begin_a_session_with_the_next_audio_and_items_and_times_go_on() -> None:
    spoken = dialect()
    hear(spoken, MANUAL, SECOND)
    same = hear(spoken, MANUAL)
    assert [type(each) for each in same] == [Say]
    changed = hear(spoken, update(transcription={"language": "de"}, turn_detection={"type": "server_vad"}))
    assert [type(each) for each in changed] == [End, Say]
    assert [type(each) for each in hear(spoken, SECOND)] == [Open, Audio]
    (late,) = tell(spoken, words("one"), Ended(1.0))
    started, delta, *rest = tell(spoken, SpeechStarted(0.5), words("two"), SpeechEnded(0.9))
    assert started["audio_start_ms"] == 1_200
    assert {each["item_id"] for each in (late, started, delta, rest[-1])} == {late["item_id"]}
    assert rest[-1]["transcript"] == "one two"


def test_a_commit_after_the_session_has_ended_completes_what_was_told() -> None:
    spoken = dialect()
    german = update(transcription={"language": "de"})
    hear(spoken, MANUAL, SECOND, german)
    assert [type(each) for each in hear(spoken, COMMIT)] == [Say]
    assert [each["transcript"] for each in tell(spoken, words("one"), Ended(1.0)) if "transcript" in each] == ["one"]
    hear(spoken, SECOND, MANUAL, update(transcription={"language": "en"}))
    tell(spoken, words("two"), Ended(1.0))
    assert told(hear(spoken, COMMIT))[-1]["transcript"] == "two"


def test_a_flood_of_commits_is_refused() -> None:
    spoken = dialect()
    hear(spoken, MANUAL, *[SECOND, COMMIT] * 32, SECOND)
    for message in (COMMIT, CLEAR):
        with pytest.raises(ProtocolError, match="wait"):
            spoken.hear(message, 0.0)
    tell(spoken, Flushed(1.0))
    hear(spoken, COMMIT)


def test_what_was_begun_fails_with_the_session() -> None:
    spoken = dialect()
    hear(spoken, MANUAL, SECOND, COMMIT)
    tell(spoken, words("one"))
    events = tell(spoken, Failed(Reason.ENGINE, "broken"))
    assert [each["type"] for each in events] == [FAILED, "error"]
    assert events[0]["error"]["type"] == events[1]["error"]["type"] == "server_error"
