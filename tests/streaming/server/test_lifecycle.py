"""What those who run a server are told of its sessions: ids and numbers, and nothing of what was said."""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from streaming.protocols.dialect import End
from streaming.protocols.native import client_text
from streaming.server.access import Access
from streaming.server.tokens import Tokens
from streaming.sessions.request import SessionRequest
from streaming.spans import OpenTelemetrySpans
from streaming.tracing import BelongingFilter, collect_with
from tests.streaming.serving import Served, Talker, s16, serving, with_limits
from tests.tones import random_words, speech_of

SPEECH = speech_of(random_words(seed=1, n=6))
TOKEN = "a-token-that-nobody-guesses"
ACCESS = Access(Tokens({"bob": TOKEN}))
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """Those of sessions, as a handler gets them."""
    logger, handler = logging.getLogger("streaming.server.lifecycle"), _Kept()
    handler.addFilter(BelongingFilter())
    logger.addHandler(handler)
    with caplog.at_level(logging.INFO, logger.name):
        yield handler.records
    logger.removeHandler(handler)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    collect_with(OpenTelemetrySpans(provider))
    yield exporter
    collect_with(None)


def speak(served: Served, **request: Any) -> str:
    """Have a session from its beginning to its end; return the name by which it could be come back to."""
    with Talker(served, additional_headers=HEADERS) as talker:
        talker.say(client_text(SessionRequest(**request)), s16(SPEECH.samples), client_text(End()))
        name = talker.ready().session
        talker.rest()
    return name


def test_a_session_that_ends_is_told_twice(records: list[logging.LogRecord]) -> None:
    with serving(access=ACCESS) as served:
        name = speak(served)
        served.wait_for(lambda: len(records) == 2)
    opened, over = (vars(record) for record in records)
    assert opened["session"] == over["session"]
    for told in (opened, over):
        assert (told["dialect"], told["client"]) == ("native", "bob")
    assert (opened["model"], opened["language"], opened["targets"]) == ("tones", "en", "")
    assert (over["reason"], over["words"]) == ("ended", len(SPEECH.words))
    assert over["audio_s"] == pytest.approx(len(SPEECH.samples) / 16_000, abs=0.01)
    assert over["compute_s"] >= 0
    shown = "".join(f"{vars(record)} {record.getMessage()}" for record in records)
    assert name not in shown
    assert TOKEN not in shown
    assert not any(word in shown for word in SPEECH.text.split())


def test_a_session_whose_client_has_left_says_so(records: list[logging.LogRecord]) -> None:
    with serving(with_limits(resume_s=0)) as served:
        with Talker(served) as talker:
            talker.say(client_text(SessionRequest()))
            talker.ready()
            talker.cut()
        served.wait_for(lambda: len(records) == 2)
    assert vars(records[1])["reason"] == "left"


def test_a_session_that_was_ended_says_why(records: list[logging.LogRecord], spans: InMemorySpanExporter) -> None:
    with serving(with_limits(total_s=1)) as served:
        with Talker(served) as talker:
            talker.say(client_text(SessionRequest()))
            talker.rest()
        served.wait_for(lambda: len(records) == 2)
    assert vars(records[1])["reason"] == "too_long"
    [session] = spans.get_finished_spans()
    assert session.status.status_code is StatusCode.ERROR


def test_who_is_denied_at_the_door_is_told_too(records: list[logging.LogRecord]) -> None:
    """An upload, and a handshake that asks for a session already."""
    with serving(max_sessions=1) as served, Talker(served) as first:
        first.say(client_text(SessionRequest()))
        first.ready()
        with pytest.raises(HTTPError):
            urlopen(f"http://127.0.0.1:{served.port}/v1/audio/transcriptions", b"nothing")
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{served.port}/v1/listen", proxy=None)
        refused = [vars(record) for record in records if record.getMessage().startswith("refused")]
    assert [(each["dialect"], each["reason"]) for each in refused] == [
        ("openai", "too_many_sessions"),
        ("deepgram", "too_many_sessions"),
    ]


def test_who_gets_no_session_is_told_with_the_reason(
    records: list[logging.LogRecord], spans: InMemorySpanExporter
) -> None:
    with serving(with_limits(sessions_per_address=1), access=ACCESS) as served:
        with Talker(served) as stranger:
            stranger.rest()
        with Talker(served, additional_headers=HEADERS) as first, Talker(served, additional_headers=HEADERS) as second:
            first.say(client_text(SessionRequest()))
            first.ready()
            second.say(client_text(SessionRequest()))
            second.rest()
        reasons = [vars(record)["reason"] for record in records if record.getMessage().startswith("refused")]
    assert reasons == ["unauthorized", "too_many_sessions"]
    refusals = [span for span in spans.get_finished_spans() if span.name == "refusal"]
    assert [dict(span.attributes or {}) for span in refusals] == [
        {"simul_whisper.dialect": "native", "simul_whisper.reason": "unauthorized"},
        {
            "simul_whisper.dialect": "native",
            "simul_whisper.client": "bob",
            "simul_whisper.reason": "too_many_sessions",
        },
    ]


def test_spans_of_a_session_are_one_tree(spans: InMemorySpanExporter) -> None:
    with serving(access=ACCESS) as served:
        name = speak(served)
        served.wait_for(lambda: any(span.name == "session" for span in spans.get_finished_spans()))
    finished = spans.get_finished_spans()
    [session] = [span for span in finished if span.name == "session"]
    passes = [span for span in finished if span.name == "pass"]
    assert session.parent is None
    assert len(passes) >= 1
    for each in passes:
        assert each.parent is not None
        assert each.parent.span_id == session.context.span_id
        assert took_ns(each) >= 0
        assert attribute(each, "compute_s") > 0
    assert sum(attribute(each, "words") for each in passes) == len(SPEECH.words)
    assert attribute(session, "words") == len(SPEECH.words)
    assert attribute(session, "model") == "tones"
    shown = " ".join(each.to_json() for each in finished)
    assert not any(secret in shown for secret in (name, TOKEN, *SPEECH.text.split()))


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {})[f"simul_whisper.{name}"]


def took_ns(span: ReadableSpan) -> int:
    assert span.end_time is not None
    assert span.start_time is not None
    return span.end_time - span.start_time
