"""WhisperLiveKit's protocol, message by message."""

import json
from typing import Any

import pytest

from simul_whisper import Word
from streaming.events import (
    Draft,
    Ended,
    Event,
    Failed,
    Reason,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Translation,
    TranslationDraft,
    TranslationSkipped,
    Words,
)
from streaming.protocols.containers import is_container
from streaming.protocols.dialect import Audio, Command, End, Handshake, Hangup, Open, Reply, Say, Served
from streaming.protocols.whisperlivekit import WhisperLiveKit
from streaming.sessions.request import Refusal
from streaming.settings import PcmFormat

SERVED = Served("base", (), ("en", "de"), ("transcribe",), ("de",), "0.0")
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81"


def dialect(**query: str) -> WhisperLiveKit:
    """Return one that has begun."""
    handshake = Handshake("somebody", 0.0, "/asr", {name: (value,) for name, value in query.items()})
    made = WhisperLiveKit(handshake, SERVED)
    made.begin()
    return made


def words(text: str, start_s: float, utterance: int = 1) -> Words:
    """Each word lasts half a second."""
    spoken = [
        Word(f" {word}", start_s + n / 2, start_s + n / 2 + 0.5, 0.9, "en") for n, word in enumerate(text.split())
    ]
    return Words(tuple(spoken), start_s, utterance)


def translation(text: str, start_s: float, end_s: float) -> Translation:
    return Translation("de", tuple(Word(f" {word}", start_s, end_s, 0.9) for word in text.split()), start_s, end_s)


def told(made: WhisperLiveKit, *events: Event) -> list[Any]:
    return [said(reply) for event in events for reply in made.tell(event, 0.0)]


def said(reply: Reply) -> Any:
    return json.loads(reply) if isinstance(reply, str) else reply


def opened(commands: list[Command]) -> PcmFormat | None:
    assert isinstance(commands[0], Open)
    return commands[0].request.audio


# What the client says


@pytest.mark.parametrize(
    ("query", "is_worklet", "audio"),
    [({}, False, None), ({"pcm_input": "true"}, True, PcmFormat()), ({"pcm_input": "false"}, False, None)],
)
def test_the_address_may_say_what_the_audio_is(query: dict[str, str], is_worklet: bool, audio: Any) -> None:
    made = WhisperLiveKit(Handshake("somebody", 0.0, "/asr", {name: (each,) for name, each in query.items()}), SERVED)
    (say,) = made.begin()
    assert isinstance(say, Say)
    assert [said(reply) for reply in say.replies] == [{"type": "config", "useAudioWorklet": is_worklet, "mode": "full"}]
    assert opened(made.hear(WEBM, 0.0)) == audio


def test_the_first_bytes_tell_what_the_audio_is() -> None:
    made = dialect()
    assert made.hear(WEBM[:3], 0.0) == []
    assert made.hear(WEBM[3:], 0.0)[1:] == [Audio(WEBM)]
    raw = b"\0\1" * 8
    made = dialect()
    assert opened(made.hear(raw, 0.0)) == PcmFormat()
    assert made.hear(raw, 0.0) == [Audio(raw)]


def test_containers_are_told_from_samples() -> None:
    heads = [WEBM, b"OggS\0\0\0\0", b"RIFF\x24\0\0\0", b"fLaC\0\0\0\x22", b"ID3\4\0\0\0\0", b"\0\0\0\x18ftypmp42"]
    frames = [b"\xff\xfb\x90\x64\0\0\0\0", b"\xff\xf1\x50\x80\0\0\0\0"]
    assert all(is_container(head) for head in [*heads, *frames])
    # Noise around zero, and silence.
    samples = [
        b"\xff\xff\xff\xff\1\0\0\0",
        b"\xff\xff\x20\0\1\0\0\0",
        b"\xff\xfb\xff\xff\0\0\0\0",
        bytes(8),
        b"",
        b"\xff",
    ]
    assert not any(is_container(head) for head in samples)


def test_what_follows_the_end_is_passed_over() -> None:
    made = dialect()
    made.hear(WEBM, 0.0)
    assert made.hear(b"", 0.0) == [End()]
    assert made.hear(b"the recorder's last", 0.0) == made.hear(b"", 0.0) == []


def test_an_end_without_audio_and_an_end_within_the_first_bytes() -> None:
    first, second = dialect().hear(b"", 0.0)
    assert isinstance(first, Open)
    assert second == End()
    made = dialect()
    made.hear(b"\0\1", 0.0)
    assert made.hear(b"", 0.0)[1:] == [Audio(b"\0\1"), End()]


@pytest.mark.parametrize(
    "query",
    [
        {"mode": "half"},
        {"pcm_input": "1"},
        {"language": "Klingon"},
        {"language": "fr"},
        {"target_language": "fr"},
        {"target_language": "auto"},
    ],
)
def test_what_cannot_be_had_is_told_before_the_connection_is_closed(query: dict[str, str]) -> None:
    made = WhisperLiveKit(Handshake("somebody", 0.0, "/asr", {name: (each,) for name, each in query.items()}), SERVED)
    with pytest.raises(Refusal) as refusal:
        made.begin()
    error, hangup = made.refuse(refusal.value)
    assert said(error) == {"type": "error", "error": str(refusal.value)}
    assert isinstance(hangup, Hangup)
    assert hangup.code == 4400


def test_each_refusal_has_its_code() -> None:
    codes = {Reason.UNAUTHORIZED: 4401, Reason.TOO_MANY_SESSIONS: 1013, Reason.UNKNOWN_TYPE: 4400}
    for reason, code in codes.items():
        assert dialect().refuse(Refusal(reason, "no"))[-1] == Hangup(code, reason.value)
    with pytest.raises(Refusal):
        dialect().hear("text", 0.0)


def test_tokens_come_in_the_address_or_in_a_header() -> None:
    for headers in ({"authorization": "Bearer sesame"}, {"authorization": "Token sesame"}):
        assert WhisperLiveKit(Handshake("somebody", 0.0, "/asr", {}, headers), SERVED).token() == "sesame"
    assert dialect(token="sesame").token() == "sesame"


# What the client is told


def test_the_last_line_grows_and_drafts_follow_it() -> None:
    made = dialect()
    first, second, third = told(
        made, words("Hello there", 1.0), Draft((Word(" you", 2.0, 2.5, 0.5),)), words("you.", 2.0)
    )
    line = {"speaker": 1, "text": "Hello there", "start": "0:00:01.00", "end": "0:00:02.00", "detected_language": "en"}
    assert first["lines"] == second["lines"] == [line]
    assert (first["buffer_transcription"], second["buffer_transcription"]) == ("", " you")
    assert third["lines"] == [{**line, "text": "Hello there you.", "end": "0:00:02.50"}]
    assert third["buffer_transcription"] == ""
    assert third["status"] == "active_transcription"
    assert third["remaining_time_transcription"] == third["remaining_time_diarization"] == 0
    (fourth,) = told(made, words("And so. Then", 3.0))
    assert [each["text"] for each in fourth["lines"]] == ["Hello there you.", "And so.", "Then"]
    (fifth,) = told(made, words("it ended. Now", 4.5))
    assert [each["text"] for each in fifth["lines"][2:]] == ["Then it ended.", "Now"]


def test_a_line_is_told_once_in_differences() -> None:
    made = dialect(mode="diff")
    first, second, third = told(made, words("Hello there.", 1.0), words("And so", 3.0), SpeechEnded(4.0))
    assert (first["type"], first["seq"], first["lines"]) == ("snapshot", 1, [])
    assert first["buffer_transcription"] == " Hello there."
    assert (second["type"], second["seq"], second["n_lines"]) == ("diff", 2, 1)
    assert [line["text"] for line in second["new_lines"]] == ["Hello there."]
    assert second["buffer_transcription"] == " And so"
    assert (third["n_lines"], third["buffer_transcription"]) == (2, "")
    assert [line["text"] for line in third["new_lines"]] == ["And so"]


def test_a_line_waits_for_its_translation_in_differences_only() -> None:
    events: list[Event] = [
        words("One two.", 1.0),
        SpeechEnded(2.5),
        translation("Eins", 1.0, 1.5),
        words("Three", 4.0, 2),
    ]
    later: list[Event] = [
        translation("zwei.", 1.5, 2.0),
        TranslationDraft("de", (Word(" Dr", 4.0, 4.5, 0.5),)),
        Ended(5.0),
    ]
    made = dialect(mode="diff", target_language="de")
    messages = told(made, *events, *later)[:-2]
    assert [line for each in messages[:-1] for line in each.get("new_lines", [])] == []
    assert messages[-2]["buffer_translation"] == " Eins zwei. Dr"
    assert messages[-1]["buffer_translation"] == ""
    assert [line.get("translation") for line in messages[-1]["new_lines"]] == ["Eins zwei.", None]
    full = told(dialect(target_language="de"), *events, *later)
    assert [line.get("translation") for line in full[-3]["lines"]] == ["Eins zwei.", None]


def test_lines_whose_translation_never_comes_are_told_all_the_same() -> None:
    made = dialect(mode="diff", target_language="de")
    n_told = [told(made, words("No.", 1.0 + n))[0].get("n_lines", 0) for n in range(30)]
    assert n_told[-1] == 10
    assert told(made, TranslationSkipped("de", 0.0, 40.0, "too slow"))[0]["n_lines"] == 29


def test_long_silence_is_a_line() -> None:
    made = dialect()
    (state,) = told(made, SpeechStarted(7.5))
    silence = {"speaker": -2, "text": "", "start": "0:00:00.00", "end": "0:00:07.50"}
    assert state["lines"] == [silence]
    events: list[Event] = [words("Yes.", 8.0), SpeechEnded(9.0), SpeechStarted(10.0, 2), words("No.", 10.0, 2)]
    assert [line["speaker"] for line in told(made, *events)[-1]["lines"]] == [-2, 1, 1]


def test_the_goodbye_comes_after_the_last_words() -> None:
    made = dialect()
    assert [each["status"] for each in told(made, Recognised(0.0))] == ["no_audio_detected"]
    told(made, words("One", 1.0), Draft((Word(" tw", 2.0, 2.5, 0.5),)))
    last, goodbye, hangup = told(made, Ended(2.0))
    assert (last["lines"][0]["text"], last["buffer_transcription"]) == ("One", "")
    assert goodbye == {"type": "ready_to_stop"}
    assert hangup == Hangup()


@pytest.mark.parametrize("mode", ["full", "diff"])
def test_a_failure_is_told_with_the_state(mode: str) -> None:
    made = dialect(mode=mode)
    told(made, words("One", 1.0))
    (state,) = told(made, Failed(Reason.ENGINE, "it broke"))
    assert (state["status"], state["error"]) == ("error", "it broke")
    assert state["lines" if mode == "full" else "new_lines"][0]["text"] == "One"
