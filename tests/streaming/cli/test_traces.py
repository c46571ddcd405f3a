"""Spans are sent where OpenTelemetry's own variables say, and nothing happens where they do not."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streaming.cli import traces
from streaming.cli.traces import traced
from streaming.tracing import add_refusal, new_session


class _Collector(BaseHTTPRequestHandler):
    received: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.received.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Collect what is sent by OTLP over HTTP; yield where, and what has come."""
    received = list[ExportTraceServiceRequest]()
    with HTTPServer(("127.0.0.1", 0), type("Collector", (_Collector,), {"received": received})) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_spans_come_to_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (endpoint, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        with traced():
            session = new_session()
            session.begin({"model": "tiny.en"})
            session.add("pass", 0.5, compute_s=0.25)
            session.end({"reason": "ended"}, has_failed=False)
            add_refusal("unauthorized")
    spans = {
        span.name: span
        for request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    assert spans.keys() == {"session", "pass", "refusal"}
    assert spans["pass"].parent_span_id == spans["session"].span_id
    assert spans["pass"].end_time_unix_nano - spans["pass"].start_time_unix_nano == 500_000_000
    service = {each.key: each.value.string_value for each in received[0].resource_spans[0].resource.attributes}
    assert service["service.name"] == "simul-whisper"


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SERVICE_NAME": "captions"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=captions"},
    ],
)
def test_the_service_is_called_as_the_variables_say(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with collector() as (endpoint, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        with traced():
            add_refusal("unauthorized")
    service = {each.key: each.value.string_value for each in received[0].resource_spans[0].resource.attributes}
    assert service["service.name"] == "captions"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_happens_where_nobody_asks(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with traced():
        session = new_session()
        session.begin({})
        assert session._span is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("protocol", "package", "said"),
    [
        ("grpc", traces._PACKAGE, "expected http/protobuf"),
        ("", "no_such.package", "pip install 'simul-whisper[trace]'"),
    ],
)
def test_what_keeps_them_from_being_sent_is_told_once_and_keeps_nobody(
    protocol: str, package: str, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setattr(traces, "_PACKAGE", package)
    with caplog.at_level(logging.WARNING), traced():
        pass
    [record] = caplog.records
    assert said in record.getMessage()


def test_a_server_without_them_does_not_import_the_package() -> None:
    assert find_spec("opentelemetry")
    program = (
        "import sys, streaming.cli.serve, streaming.server.run\n"
        "from streaming.cli.traces import traced\n"
        "with traced(): print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not any(name.startswith("opentelemetry") for name in loaded.split())
