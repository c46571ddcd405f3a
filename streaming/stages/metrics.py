"""What the translations of a server's sessions count, as Prometheus reads it, for each target."""

import weakref
from typing import Protocol

from simul_whisper import BackendError

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
except ImportError as error:
    raise BackendError(
        "translation needs prometheus-client; install it with: pip install 'simul-whisper[translate]'"
    ) from error

from streaming.sessions.metrics import DELAY_BOUNDS_S, NAMESPACE, families_of


class Waiting(Protocol):
    """What has sentences that wait."""

    def n_waiting(self) -> dict[str, int]:
        """Return how many whole sentences wait to be translated, for each target."""
        ...


class TranslationMetrics:
    """Sums since it was made, in a registry of its own; shared by the sessions of a server. Any thread may use it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._watched: weakref.WeakSet[Waiting] = weakref.WeakSet()
        self._waiting = Gauge(
            "translation_sentences_waiting",
            "whole sentences that wait to be translated",
            ["target"],
            namespace=NAMESPACE,
            registry=self._registry,
        )
        self.words = self._counter("words", "words of translations told")
        self.tokens = self._counter("tokens", "tokens that translators returned, drafts included")
        self.calls = self._counter("calls", "calls of translators, drafts included")
        self.seconds = self._counter("seconds", "time that translators took")
        self.failures = self._counter("failures", "calls that raised, or were not answered in time")
        self.skipped = self._counter("skipped_sentences", "sentences that were not translated, or not to their end")
        self.delay_s = Histogram(
            "translation_delay_seconds",
            "from the event with a word to its translation",
            ["target"],
            namespace=NAMESPACE,
            registry=self._registry,
            buckets=DELAY_BOUNDS_S,
        )

    def watch(self, stage: Waiting) -> None:
        """Count the sentences that wait in this stage for as long as it lives."""
        self._watched.add(stage)

    def read(self) -> tuple[Metric, ...]:
        """Return all families, without the times at which they were created."""
        self._waiting.clear()
        for stage in list(self._watched):
            for target, n_waiting in stage.n_waiting().items():
                self._waiting.labels(target).inc(n_waiting)
        return families_of(self._registry)

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(f"translation_{name}", about, ["target"], namespace=NAMESPACE, registry=self._registry)
