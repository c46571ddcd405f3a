"""Forms to requests and events to bodies, without a server."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper import Word
from streaming.events import Ended, Event, Language, Reason, Recognised, SpeechEnded, Translation, Words
from streaming.protocols.dialect import Served
from streaming.protocols.openai_errors import RequestError, error_body, status_of
from streaming.protocols.openai_form import Asked, read_form
from streaming.protocols.openai_rest import Answer, model_body, models_body
from streaming.sessions.request import Refusal
from streaming.settings import PcmFormat

SERVED = Served("base", ("whisper-1",), ("en", "de", "zh"), ("transcribe", "translate"), (), "1.0")
NO_TRANSLATOR = Served("base.en", ("whisper-1",), ("en",), ("transcribe",), (), "1.0")
STAGE = Served("turbo", ("whisper-1",), ("en", "de"), ("transcribe",), ("en", "es"), "1.0")


def asked(fields: Mapping[str, Sequence[str]] | None = None, served: Served = SERVED, **options: Any) -> Asked:
    is_translation = options.pop("is_translation", False)
    given = {name: [value] for name, value in options.items()}
    return read_form({"model": ["whisper-1"], **given, **(fields or {})}, served, is_translation=is_translation)


def word(text: str, start_s: float, probability: float = 1.0) -> Word:
    return Word(text, start_s, start_s + 0.4, probability)


EVENTS: list[Event] = [
    Language("de"),
    Words((word(" Guten", 0.0, 0.5), word(" Tag", 0.5)), 1.0),
    Words((word(".", 1.0), word(" Ja", 2.0)), 3.0),
    SpeechEnded(3.5),
    Words((word(" Nein", 4.0),), 5.0, 2),
    Recognised(6.5),
    Ended(6.5),
]


def answered(events: Sequence[Event], request: Asked, language: str = "auto") -> tuple[str, str]:
    """What a stream would tell, and what is answered at the end."""
    answer = Answer(request, language)
    told = "".join(answer.tell(event) for event in events)
    return told + answer.last_events(), answer.body()


def test_a_form_that_asks_for_nothing_gets_the_servers_settings() -> None:
    request = asked()
    assert (request.form, request.is_stream, request.language) == ("json", False, "")
    assert (request.session.engine, request.session.voice, request.session.targets) == ({}, {}, ())
    assert request.session.audio == PcmFormat("f32le")
    assert not request.session.drafts


def test_settings_are_those_of_the_service() -> None:
    fields = {"keywords[]": ["Kepler", "Tycho"], "chunking_strategy[type]": ["server_vad"]}
    fields["chunking_strategy[silence_duration_ms]"] = ["300"]
    request = asked(fields, language="German", prompt="Ein Vortrag.", temperature="0", stream="True", unknown="x")
    assert request.session.engine == {
        "language": "de",
        "init_prompt": "Ein Vortrag.",
        "terms": ["Kepler", "Tycho"],
    }
    assert request.session.voice == {"vad": True, "vad_silence": pytest.approx(0.3)}
    assert request.is_stream
    assert asked(chunking_strategy="auto").session.voice == {"vad": True}
    written = '{"type": "server_vad", "threshold": 0.7, "prefix_padding_ms": null}'
    assert asked(chunking_strategy=written).session.voice == {"vad": True, "vad_threshold": 0.7}


def test_of_several_languages_one_of_them_is_detected() -> None:
    assert asked({"languages[]": ["de"]}).session.engine == {"language": "de"}
    assert asked(language="auto").session.engine == {"language": "auto"}
    several = asked({"languages[]": ["de", "English", "de"]})
    assert several.session.engine == {"language": "auto", "languages": ("de", "en")}
    assert several.language == "auto"
    assert asked({"languages[]": ["de", "auto"]}).session.engine == {"language": "auto"}
    assert asked({"languages[]": ["de", "en"]}, language="en").session.engine == {"language": "en"}
    with pytest.raises(RequestError, match="does not know French"):
        asked({"languages[]": ["de", "fr"]})
    with pytest.raises(RequestError, match="does not know German"):
        asked(served=NO_TRANSLATOR, language="de")


def test_who_translates_is_whisper_or_the_stage() -> None:
    assert asked(is_translation=True).session.engine == {"task": "translate"}
    request = asked(served=STAGE, is_translation=True)
    assert (request.session.engine, request.session.targets, request.text) == ({}, ("en",), "en")
    with pytest.raises(RequestError, match=r"cannot translate into English.*multilingual"):
        asked(served=NO_TRANSLATOR, is_translation=True)
    events = [*EVENTS[:-1], Translation("en", (word(" Good", 0.1), word(" day.", 0.6)), 0.0, 2.0), EVENTS[-1]]
    assert json.loads(answered(events, request)[1])["text"] == "Good day."


def test_deltas_join_to_the_text() -> None:
    told, body = answered(EVENTS, asked())
    *events, last = told.strip().split("\n\n")
    assert last == "data: [DONE]"
    deltas = [json.loads(each.removeprefix("data: ")) for each in events]
    assert [each.get("delta") for each in deltas] == ["Guten Tag", ". Ja", " Nein", None]
    assert deltas[-1] == {"type": "transcript.text.done", "text": "Guten Tag. Ja Nein"}
    assert json.loads(body) == {"text": "Guten Tag. Ja Nein", "usage": {"type": "duration", "seconds": 6.5}}


def test_segments_are_sentences_and_words_have_their_punctuation() -> None:
    fields = {"timestamp_granularities[]": ["word", "segment"]}
    request = asked(fields, response_format="verbose_json", language="auto")
    told = json.loads(answered(EVENTS, request, "en")[1])
    assert (told["task"], told["language"], told["duration"]) == ("transcribe", "german", 6.5)
    assert [(each["text"], each["start"], each["end"]) for each in told["segments"]] == [
        (" Guten Tag.", 0.0, 1.4),
        (" Ja", 2.0, 2.4),
        (" Nein", 4.0, 4.4),
    ]
    assert [each["id"] for each in told["segments"]] == [0, 1, 2]
    assert told["segments"][0]["avg_logprob"] == pytest.approx(-0.6931 / 3, abs=1e-3)
    assert told["words"] == [
        {"word": "Guten", "start": 0.0, "end": 0.4},
        {"word": "Tag.", "start": 0.5, "end": 1.4},
        {"word": "Ja", "start": 2.0, "end": 2.4},
        {"word": "Nein", "start": 4.0, "end": 4.4},
    ]


def test_languages_without_spaces_get_none() -> None:
    events: list[Event] = [Words((word("你", 0.0), word("好", 0.5)), 1.0), Words((word("。", 1.0),), 2.0), Ended(2.0)]
    assert json.loads(answered(events, asked(language="zh"))[1])["text"] == "你好。"


def test_nothing_said_is_an_empty_text() -> None:
    events: list[Event] = [Recognised(1.0), Ended(1.0)]
    assert answered(events, asked(response_format="text"))[1] == "\n"
    assert answered(events, asked(response_format="srt"))[1] == ""
    assert answered(events, asked(response_format="vtt"))[1] == "WEBVTT\n\n"
    told = json.loads(answered(events, asked(response_format="verbose_json"), "en")[1])
    assert (told["text"], told["segments"], told["language"]) == ("", [], "english")


def test_every_reason_has_a_status_of_an_error() -> None:
    for reason in Reason:
        refusal = Refusal(reason, "why")
        assert 400 <= status_of(refusal) < 600
        assert set(json.loads(error_body(refusal))["error"]) == {"message", "type", "param", "code"}


def test_models_have_what_the_service_tells() -> None:
    data = json.loads(models_body(SERVED, 7))["data"]
    assert [each["id"] for each in data] == ["base", "whisper-1"]
    assert data[1] == {"id": "whisper-1", "object": "model", "created": 7, "owned_by": "simul-whisper"}
    assert json.loads(model_body(SERVED, "base", 7)) == data[0]
    nothing = Served("", (), (), (), (), "1.0")
    assert json.loads(models_body(nothing, 7))["data"] == []
    with pytest.raises(RequestError):
        model_body(nothing, "", 7)


NAMES = st.sampled_from(
    "model language languages[] prompt keywords[] response_format temperature stream include[] known_speaker_names "
    "timestamp_granularities[] chunking_strategy chunking_strategy[type] chunking_strategy[threshold] "
    "chunking_strategy[".split()
)
VALUES = st.sampled_from(
    ["whisper-1", "true", "1e999", "-1", "nan", "verbose_json", "word", "auto", "server_vad", "", "\0", "\ud800"]
) | st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "threshold"]), inner),
).map(json.dumps)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(fields=st.dictionaries(NAMES, st.lists(VALUES | JSON, min_size=1, max_size=3)), is_translation=st.booleans())
def test_any_form_is_read_or_refused(fields: dict[str, list[str]], is_translation: bool) -> None:
    try:
        read_form({"model": ["whisper-1"], **fields}, SERVED, is_translation=is_translation)
    except Refusal as refusal:
        told = json.loads(error_body(refusal))["error"]
        assert told["type"] == "invalid_request_error"
        assert len(told["message"]) < 600
        assert told["message"].isprintable()
