"""What the pool and the server count, as one page for Prometheus."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from streaming.server.doorway import Doorway
from streaming.server.registry import SessionRegistry

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "simul_whisper_"


class PrometheusMetrics:
    """A collector of its own registry, so that servers in one process do not share counts."""

    def __init__(self, sessions: SessionRegistry, doorway: Doorway) -> None:
        self._sessions, self._doorway = sessions, doorway
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
        sessions, health = self._sessions, self._sessions.pool.health()
        yield from sessions.pool.metrics()
        yield from sessions.translations.metrics.read()
        yield from sessions.speech.metrics.read()
        yield _gauge("ready", "1 when inference works", float(health.is_ready))
        yield _gauge("inference_busy_seconds", "how long the present inference has been running", health.busy_s)
        yield _gauge("threads", "threads of Python", threading.active_count())
        yield _gauge("connections_open", "WebSocket connections", sessions.n_connections)
        yield _gauge("sessions_away", "sessions whose connection is lost and that may come back", sessions.n_away)
        yield _gauge("connections_waiting", "connections that have not said hello", self._doorway.n_waiting)
        yield _counts("errors", "errors told to clients", "code", sessions.errors)
        yield _counts("connections", "WebSocket connections let in", "token", sessions.connections_by_name)
        spoken = sessions.connections_by_dialect
        yield _counts("dialect_connections", "connections and uploads let in", "dialect", spoken)
        yield _counts(
            "turned_away", "connections closed before they asked for anything", "why", self._doorway.turned_away
        )


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, about, value=value)


def _counts(name: str, about: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(_PREFIX + name, about, labels=[label])
    for each, n in sorted(counts.items()):
        family.add_metric([each], n)
    return family
