"""Spans for OpenTelemetry while a server runs: where its own variables say where they go, and its package is there."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from streaming.tracing import collect_with

logger = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_PACKAGE = "opentelemetry.exporter.otlp.proto.http"


@contextmanager
def traced() -> Iterator[None]:
    """Have spans made and sent, if that is asked for; what cannot be done is told, and keeps nobody from serving."""
    is_asked_for = _is_asked_for()
    why_not = _why_not() if is_asked_for else ""
    if why_not:
        logger.warning("no spans are sent: %s", why_not)
    if why_not or not is_asked_for:
        yield
        return
    # Here, because it is an extra, which takes a while to be imported.
    from streaming.spans import sent_spans

    spans = sent_spans()
    collect_with(spans)
    try:
        yield
    finally:
        collect_with(None)
        spans.close()


def _is_asked_for() -> bool:
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    return not is_off and exporter.strip() == "otlp" and any(os.environ.get(name) for name in _ENDPOINTS)


def _why_not() -> str:
    """Return why spans cannot be sent; empty where they can."""
    name = next((name for name in _PROTOCOLS if os.environ.get(name)), "")
    if name and os.environ[name].strip() != _PROTOCOL:
        return f"got {name}={os.environ[name]}, expected {_PROTOCOL}"
    try:
        is_there = importlib.util.find_spec(_PACKAGE) is not None
    except ModuleNotFoundError:
        is_there = False
    return "" if is_there else "they need OpenTelemetry: pip install 'simul-whisper[trace]'"
