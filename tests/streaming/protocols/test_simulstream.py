"""simulstream as functions: metadata, chunks that come twice, and one stream after another."""

import json
from typing import Any

import pytest

from simul_whisper import Word
from streaming.events import Ended, Event, Failed, Reason, Translation, TranslationSkipped, Words
from streaming.protocols.dialect import Audio, Command, End, Handshake, Hangup, Open, Served, Targets
from streaming.protocols.simulstream import Simulstream
from streaming.sessions.request import Refusal, SessionRequest
from streaming.settings import PcmFormat

END = '{"end_of_stream": true}'


def simulstream(*languages: str) -> Simulstream:
    served = Served("tiny", (), languages or ("en", "de", "it"), ("transcribe",), ("it",), "1")
    return Simulstream(Handshake("somebody", 0.0), served)


def said(dialect: Simulstream, *messages: str | bytes | dict[str, Any]) -> list[Command]:
    texts = [json.dumps(each) if isinstance(each, dict) else each for each in messages]
    return [command for each in texts for command in dialect.hear(each, 0)]


def told(dialect: Simulstream, *events: Event) -> list[Any]:
    replies = [reply for each in events for reply in dialect.tell(each, 0)]
    return [reply if isinstance(reply, Hangup) else json.loads(reply) for reply in replies]


def opened(rate: int = 16_000, target: str | None = None, **engine: Any) -> Open:
    targets = () if target is None else (target,)
    return Open(SessionRequest(PcmFormat(rate=rate), engine, targets=targets, drafts=False))


def words(text: str) -> Words:
    return Words((Word(text, 0.0, 1.0, 1.0, "en"),), 2.0)


def translation(text: str) -> Translation:
    return Translation("it", (Word(text, 0.0, 1.0, 1.0, "it"),), 0.0, 1.0)


def test_each_stream_of_a_connection_has_its_own_settings() -> None:
    dialect = simulstream()
    metadata = {"sample_rate": 48_000, "source_lang": "German", "metrics_metadata": {"wav_name": "a"}}
    assert said(dialect, metadata, b"\1\0", b"\2\0", END) == [
        opened(48_000, language="de"),
        Audio(b"\1\0"),
        Audio(b"\2\0"),
        End(),
    ]
    assert said(dialect, b"\1\0", END, END) == [opened(), Audio(b"\1\0"), End(), opened(), End()]
    assert told(dialect, words(" one"), words(" two"), Ended(1.0)) == [
        {"new": " one", "deleted": ""},
        {"new": " two", "deleted": ""},
        {"new": "", "deleted": ""},
        {"end_of_processing": True},
    ]
    assert told(dialect, Ended(1.0)) == [{"new": "", "deleted": ""}, {"end_of_processing": True}]


def test_the_last_chunk_is_heard_once_though_it_comes_twice() -> None:
    sound, silence = b"\1\2" * 100, bytes(200)
    assert said(simulstream(), b"\5\0", sound, sound, END) == [opened(), Audio(b"\5\0"), Audio(sound), End()]
    # Nothing is lost of what goes on, and silence never waits.
    assert said(simulstream(), sound, sound, b"\3\0", END) == [opened(), *[Audio(sound)] * 2, Audio(b"\3\0"), End()]
    assert said(simulstream(), sound, sound, sound, END) == [opened(), *[Audio(sound)] * 2, End()]
    assert said(simulstream(), sound, sound, {"metrics_metadata": 1}) == [opened(), *[Audio(sound)] * 2]
    assert said(simulstream(), silence, silence) == [opened(), *[Audio(silence)] * 2]


@pytest.mark.parametrize("metadata", [{"sample_rate": "48000"}, {"sample_rate": 48_000.0}, {"sample_rate": 48_000}])
def test_a_rate_is_read_as_there(metadata: dict[str, Any]) -> None:
    assert said(simulstream(), metadata, b"\1\0")[0] == opened(48_000)


def test_with_a_target_the_translation_is_what_is_new() -> None:
    dialect = simulstream()
    assert said(dialect, {"source_lang": "en", "target_lang": "it"}, b"\1\0")[0] == opened(target="it", language="en")
    skipped = TranslationSkipped("it", 1.0, 2.5, "too slow")
    assert told(dialect, words(" one"), translation(" uno"), skipped) == [
        {"new": " uno", "deleted": ""},
        {
            "new": "",
            "deleted": "",
            "error": "what was said from 1.0 to 2.5 s is missing: too slow",
            "code": "incomplete",
        },
    ]
    assert said(dialect, {"target_lang": "de"}, {"target_lang": "en"}) == [Targets(("de",)), Targets(())]
    assert told(dialect, words(" two"), translation(" due")) == [{"new": " two", "deleted": ""}]


@pytest.mark.parametrize(
    ("languages", "metadata"),
    [(("en", "de"), {"source_lang": "en", "target_lang": "en-US"}), (("en",), {"target_lang": "en"}), ((), {})],
)
def test_the_language_that_is_spoken_needs_no_translation(languages: tuple[str, ...], metadata: dict[str, Any]) -> None:
    dialect = simulstream(*languages)
    first = said(dialect, metadata, b"\1\0")[0]
    assert isinstance(first, Open)
    assert first.request.targets == ()
    assert told(dialect, words(" one")) == [{"new": " one", "deleted": ""}]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (["hello"], Reason.BAD_JSON),
        (["[]"], Reason.BAD_JSON),
        ([{"sample_rate": "fast"}], Reason.BAD_VALUE),
        ([{"sample_rate": True}], Reason.BAD_VALUE),
        ([{"sample_rate": 1e300}], Reason.BAD_VALUE),
        (['{"sample_rate": 1e400}'], Reason.BAD_VALUE),
        ([{"sample_rate": 100}, b"\1\0"], Reason.AUDIO_FORMAT),
        ([{"source_lang": "Klingon"}], Reason.CONFIG),
        ([{"target_lang": "auto"}], Reason.CONFIG),
        ([{"target_lang": ["it"]}], Reason.BAD_VALUE),
        ([b"\1\0", {"sample_rate": 8_000}], Reason.CONFIG),
        ([b"\1\0", {"source_lang": "de"}], Reason.CONFIG),
    ],
)
def test_errors_come_beside_empty_text(messages: list[Any], reason: Reason) -> None:
    dialect = simulstream()
    with pytest.raises(Refusal) as refused:
        said(dialect, *messages)
    assert refused.value.reason is reason
    error, *rest = dialect.refuse(refused.value)
    assert isinstance(error, str)
    assert json.loads(error) == {"new": "", "deleted": "", "error": str(refused.value), "code": reason.value}
    # The server of the package passes over what is no JSON, too.
    assert [type(each) for each in rest] == ([] if reason is Reason.BAD_JSON else [Hangup])


def test_a_failure_is_told() -> None:
    dialect = simulstream()
    said(dialect, b"\1\0")
    error, hangup = told(dialect, Failed(Reason.IDLE, "nothing came"))
    assert (error["error"], hangup) == ("nothing came", Hangup(1008, "idle"))
