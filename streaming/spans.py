"""Spans for OpenTelemetry, sent to where its own variables, OTEL_*, say."""

import time
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from streaming.tracing import Attributes

_NAME, _SERVICE = "simul_whisper", "simul-whisper"


class OpenTelemetrySpans:
    """provider: what collects them."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider, self._tracer = provider, provider.get_tracer(_NAME)

    def begin(self, name: str, attributes: Attributes) -> Span:
        return self._tracer.start_span(name, Context(), SpanKind.SERVER, _named(attributes))

    def add(self, parent: Span, name: str, took_s: float, attributes: Attributes) -> None:
        now = time.time_ns()
        start, within = now - round(took_s * 1e9), set_span_in_context(parent, Context())
        self._tracer.start_span(name, within, attributes=_named(attributes), start_time=start).end(now)

    def end(self, span: Span, attributes: Attributes, *, has_failed: bool) -> None:
        span.set_attributes(_named(attributes))
        if has_failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()


def sent_spans() -> OpenTelemetrySpans:
    """Return spans that are sent by OTLP over HTTP, in a thread of their own."""
    # What the variables say of the service wins.
    resource = Resource.create({"service.name": _SERVICE, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetrySpans(provider)


def _named(attributes: Attributes) -> dict[str, Any]:
    return {f"{_NAME}.{name}": value for name, value in attributes.items()}
