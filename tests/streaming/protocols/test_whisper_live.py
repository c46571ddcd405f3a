"""WhisperLive's protocol, message by message."""

import json
from typing import Any

import numpy as np
import pytest

from simul_whisper import Word
from streaming.events import Ended, Event, Failed, Flushed, Language, Reason, SpeechEnded, Translation, Words
from streaming.protocols.dialect import Audio, Command, End, Flush, Handshake, Hangup, Open, Reply, Say, Served
from streaming.protocols.whisper_live import END_OF_AUDIO, WhisperLive
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

SERVED = Served("base", ("whisper-1",), ("en", "de"), ("transcribe",), ("de",), "0.0")
UID = "6a1f"


def begun(**options: Any) -> tuple[WhisperLive, list[Command]]:
    made = WhisperLive(Handshake("somebody", 0.0, "/"), SERVED)
    return made, made.hear(json.dumps({"uid": UID, "model": "base", **options}), 0.0)


def request(**options: Any) -> SessionRequest:
    opening = begun(**options)[1][0]
    assert isinstance(opening, Open)
    return opening.request


def said(reply: Reply) -> Any:
    return json.loads(reply) if isinstance(reply, str) else reply


def told(made: WhisperLive, *events: Event) -> list[Any]:
    return [said(reply) for event in events for reply in made.tell(event, 0.0)]


def words(text: str, start_s: float, utterance: int = 1) -> Words:
    """Each word lasts half a second."""
    spoken = [
        Word(f" {word}", start_s + n / 2, start_s + n / 2 + 0.5, 0.98765, "en") for n, word in enumerate(text.split())
    ]
    return Words(tuple(spoken), start_s, utterance)


def segment(text: str, start: str, end: str, *, completed: bool) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text, "completed": completed}


# What the client says


def test_the_first_message_opens_a_session_and_is_answered() -> None:
    made, commands = begun()
    assert isinstance(commands[0], Open)
    assert isinstance(commands[1], Say)
    ready = {"uid": UID, "message": "SERVER_READY", "backend": "faster_whisper"}
    assert [said(reply) for reply in commands[1].replies] == [ready]
    assert made.hear(b"\0" * 8, 0.0) == [Audio(b"\0" * 8)]
    assert made.hear_quiet() == [Flush()]
    assert made.hear(END_OF_AUDIO, 0.0) == [End()]
    assert made.hear(b"\0" * 8, 0.0) == made.hear("END_OF_AUDIO", 0.0) == made.hear_quiet() == []


def test_nothing_is_flushed_before_there_is_a_session() -> None:
    assert WhisperLive(Handshake("somebody", 0.0, "/"), SERVED).hear_quiet() == []


def test_options_are_those_of_the_engine() -> None:
    assert request() == SessionRequest(PcmFormat("f32le"), drafts=False, model="base")
    options = {"language": "de", "task": "translate", "initial_prompt": "Then", "hotwords": "Ada"}
    engine = {"language": "de", "task": "translate", "init_prompt": "Then", "static_init_prompt": "Ada"}
    assert request(**options).engine == engine
    assert request(model="small.en").engine == {"language": "en"}
    parameters = {"threshold": 0.6, "min_silence_duration_ms": 500, "speech_pad_ms": 400, "max_speech_duration_s": 30}
    voice = {"vad": True, "vad_threshold": 0.6, "vad_silence": 0.5, "vad_lead_in": 0.4}
    assert request(use_vad=True, vad_parameters=parameters).voice == voice
    assert request(enable_translation=True, target_language="German").targets == ("de",)
    assert request(enable_translation=False, target_language="German").targets == ()


def test_samples_of_each_format() -> None:
    assert request(audio_format="int16").audio == request(audio_format="uint8").audio == PcmFormat()
    made, _ = begun(audio_format="uint8")
    (audio,) = made.hear(bytes([0, 128, 255]), 0.0)
    assert isinstance(audio, Audio)
    assert np.frombuffer(audio.data, "<i2").tolist() == [-32768, 0, 32512]


def test_what_is_not_had_is_a_warning() -> None:
    say = begun(model="small", enable_diarization=True)[1][1]
    assert isinstance(say, Say)
    warnings = [said(reply) for reply in say.replies[:-1]]
    assert [each["status"] for each in warnings] == ["WARNING", "WARNING"]
    assert "'small' is not here; base listens" in warnings[0]["message"]


@pytest.mark.parametrize(
    "options",
    [
        {"uid": None},
        {"uid": 7},
        {"uid": "x" * 1000},
        {"language": 3},
        {"use_vad": 1},
        {"send_last_n_segments": 0},
        {"send_last_n_segments": True},
        {"send_last_n_segments": 2.5},
        {"word_timestamps": "yes"},
        {"audio_format": "float64"},
        {"enable_translation": True, "target_language": "auto"},
        {"vad_parameters": [0.5]},
        {"vad_parameters": {"threshold": "0.5"}},
        {"initial_prompt": ["Then"]},
    ],
)
def test_an_impossible_option_is_an_error(options: dict[str, Any]) -> None:
    made = WhisperLive(Handshake("somebody", 0.0, "/"), SERVED)
    with pytest.raises(Refusal) as refusal:
        made.hear(json.dumps({"uid": UID, **options}), 0.0)
    error, hangup = made.refuse(refusal.value)
    uid = UID if "uid" not in options else None
    assert said(error) == {"uid": uid, "status": "ERROR", "message": str(refusal.value)}
    assert hangup == Hangup(1008, refusal.value.reason.value)


def test_other_text_is_an_error() -> None:
    made, _ = begun()
    with pytest.raises(Refusal, match="END_OF_AUDIO"):
        made.hear("stop", 0.0)


def test_who_must_wait_is_told_for_how_many_minutes() -> None:
    made, _ = begun()
    wait, _ = made.refuse(Refusal(Reason.TOO_MANY_SESSIONS, "full"))
    assert said(wait) == {"uid": UID, "status": "WAIT", "message": 1.0}
    made, _ = begun()
    wait, _ = made.refuse(Refusal(Reason.TOO_MANY_SESSIONS, "full", 90.0))
    assert said(wait) == {"uid": UID, "status": "WAIT", "message": 1.5}


def test_tokens_come_in_three_places() -> None:
    places: list[dict[str, Any]] = [
        {"query": {"token": ("sesame",)}},
        {"headers": {"authorization": "Bearer sesame"}},
        {"subprotocols": ("bearer", "sesame")},
    ]
    made = [WhisperLive(Handshake("somebody", 0.0, "/", **place), SERVED) for place in places]
    assert [each.token() for each in made] == ["sesame"] * 3
    assert [each.subprotocol for each in made] == [None, None, "bearer"]
    denials = [made[0].deny(Refusal(reason, "no")) for reason in (Reason.UNAUTHORIZED, Reason.TOO_MANY_CONNECTIONS)]
    assert [denial.status for denial in denials if denial] == [401, 503]


# What the client is told


def test_a_segment_is_told_whole_before_it_is_completed() -> None:
    made, _ = begun()
    first, second, third = told(made, words("Hello there", 1.0), words("you. And", 2.0))
    assert first["segments"] == [segment(" Hello there", "1.000", "2.000", completed=False)]
    whole = segment(" Hello there you.", "1.000", "2.500", completed=True)
    assert second["segments"] == [{**whole, "completed": False}]
    assert third["segments"] == [whole, segment(" And", "2.500", "3.000", completed=False)]
    (last,) = told(made, SpeechEnded(3.0))
    assert last["segments"] == [whole, segment(" And", "2.500", "3.000", completed=True)]
    assert told(made, Flushed(3.0)) == []


def test_completed_segments_never_touch() -> None:
    """Else the client, which is told them again and again, would count them again."""
    made, _ = begun()
    late = Words((Word(" One.", 1.0, 3.0, 0.9), Word(" Two.", 2.0, 2.0, 0.9), Word(" Three.", 2.0, 2.0, 0.9)), 3.0)
    segments = told(made, late, SpeechEnded(3.0))[-1]["segments"]
    times = [(each["start"], each["end"]) for each in segments]
    assert times == [("1.000", "3.000"), ("3.000", "3.001"), ("3.001", "3.002")]


def test_as_many_segments_are_told_again_as_were_asked_for() -> None:
    made, _ = begun(send_last_n_segments=2)
    message = told(made, words("One. Two. Three. Four", 1.0))[-1]
    assert [each["text"] for each in message["segments"]] == [" Two.", " Three.", " Four"]


def test_words_are_timed_when_that_is_asked_for() -> None:
    made, _ = begun(word_timestamps=True)
    (message,) = told(made, words("Hello", 1.0))
    timed = [{"word": " Hello", "start": "1.000", "end": "1.500", "probability": 0.9877}]
    assert message["segments"][0]["words"] == timed


def test_translations_are_segments_of_their_own() -> None:
    made, _ = begun(enable_translation=True, target_language="de")
    events = [Translation("de", (Word(text, 1.0, 1.5, 0.9),), 1.0, 1.5) for text in (" Eins", " zwei")]
    messages = told(made, *events)
    assert [len(each["translated_segments"]) for each in messages] == [1, 2]
    last = messages[-1]["translated_segments"][-1]
    assert last == {**segment(" zwei", "1.500", "1.501", completed=True), "target_language": "de"}


def test_the_language_is_told_without_a_claim() -> None:
    made, _ = begun()
    assert told(made, Language("de")) == [{"uid": UID, "language": "de", "language_prob": None}]


@pytest.mark.parametrize("event", [Ended(2.0), Failed(Reason.TOO_LONG, "an hour")])
def test_the_goodbye_comes_after_the_last_segment(event: Event) -> None:
    made, _ = begun()
    told(made, words("One", 1.0))
    last, goodbye, hangup = told(made, event)
    assert last["segments"][0]["completed"]
    assert goodbye == {"uid": UID, "message": "DISCONNECT"}
    assert hangup == Hangup()


def test_a_failure_is_an_error_after_the_last_segment() -> None:
    made, _ = begun()
    told(made, words("One", 1.0))
    last, error = told(made, Failed(Reason.ENGINE, "it broke"))
    assert last["segments"][0]["completed"]
    assert error == {"uid": UID, "status": "ERROR", "message": "it broke"}


def test_what_is_completed_is_written_once_however_often_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = begun(word_timestamps=True, send_last_n_segments=500)
    for n in range(20):
        (last,) = told(made, words(f"word {n}.", 2.0 * n))[-1:]
    assert len(last["segments"]) == 20
    written, write = list[str](), json.dumps

    def writing(value: Any) -> str:
        written.append(write(value))
        return written[-1]

    monkeypatch.setattr(json, "dumps", writing)
    (update,) = told(made, words("more", 60.0))
    assert len(update["segments"]) == 21
    assert sum(map(len, written)) < len(write(update)) / 5
