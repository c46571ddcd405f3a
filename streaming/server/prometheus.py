"""The worker's and the server's counts as Prometheus reads them."""

import threading
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from streaming.server.registry import SessionRegistry
from streaming.sessions.metrics import Histogram

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "simul_whisper_"


class PrometheusMetrics:
    """A collector of its own registry, so that servers in one process do not share counts."""

    def __init__(self, sessions: SessionRegistry) -> None:
        self._sessions = sessions
        self._registry = CollectorRegistry()
        self._registry.register(self)
        # Memory and descriptors, where the system tells them.
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Registering asks for names; they are the same each time."""
        return []

    def collect(self) -> Iterator[Metric]:
        now, sessions = self._sessions.worker.metrics(), self._sessions
        health = sessions.worker.health()
        yield _gauge("ready", "1 when inference works", float(health.is_ready))
        yield _gauge("inference_busy_seconds", "how long the present inference has been running", health.busy_s)
        yield _gauge("threads", "threads of Python", threading.active_count())
        yield _gauge("connections_open", "WebSocket connections", sessions.n_connections)
        yield _gauge("sessions_open", "sessions that are not over", now.sessions_open)
        yield _gauge("sessions_away", "sessions whose connection is lost and that may come back", sessions.n_away)
        yield _gauge("waiting_audio_seconds", "audio received and not yet taken", now.waiting_audio_s)
        yield _counter("sessions_opened", "sessions opened", now.sessions_opened)
        yield _counter("sessions_refused", "sessions refused, because too many were open", now.sessions_refused)
        yield _counter("sessions_failed", "sessions that ended with an error", now.sessions_failed)
        yield _counter("audio_seconds", "audio taken, silence included", now.audio_s)
        yield _counter("compute_seconds", "time spent in the engine", now.compute_s)
        yield _counter("dropped_audio_seconds", "audio that was never heard", now.dropped_s)
        yield _counter("words", "words committed", now.words)
        errors = CounterMetricFamily(f"{_PREFIX}errors", "errors told to clients", labels=["code"])
        for code, n in sorted(sessions.errors.items()):
            errors.add_metric([code], n)
        yield errors
        yield _histogram("queue_delay_seconds", "how long audio that was due waited for its turn", now.queue_delay)
        yield _histogram("inference_seconds", "what one call of the engine took", now.inference)
        yield _histogram("decoder_step_seconds", "what one step of the decoder took", now.step)
        yield _histogram("word_delay_seconds", "from the arrival of a word's audio to its event", now.word_delay)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, about, value=value)


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, about, value=value)


def _histogram(name: str, about: str, values: Histogram) -> Metric:
    sums = accumulate(values.counts)
    bounds = [*(f"{bound:g}" for bound in values.bounds_s), "+Inf"]
    buckets = [(bound, float(n)) for bound, n in zip(bounds, sums, strict=True)]
    return HistogramMetricFamily(_PREFIX + name, about, buckets=buckets, sum_value=values.sum_s)
