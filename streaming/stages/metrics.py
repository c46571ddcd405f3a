"""What the translations and the speech of a server's sessions count, as Prometheus reads it, for each target."""

import weakref
from typing import Protocol

from simul_whisper import BackendError

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
except ImportError as error:
    raise BackendError(
        "translation, speech and servers need prometheus-client; install it with: "
        "pip install 'simul-whisper[translate]', or simul-whisper[live] for a server"
    ) from error

from streaming.sessions.metrics import DELAY_BOUNDS_S, NAMESPACE, families_of

_LABELS = ["target"]


class Waiting(Protocol):
    """What has sentences that wait."""

    def n_waiting(self) -> dict[str, int]:
        """Return how many sentences wait to be translated or spoken, for each target."""
        ...


class _StageMetrics:
    """Sums since it was made, in a registry of its own; shared by the sessions of a server. Any thread may use it.

    what: all names begin with it. waiting: which sentences wait.
    """

    def __init__(self, what: str, waiting: str) -> None:
        self._what, self._registry = what, CollectorRegistry()
        self._watched: weakref.WeakSet[Waiting] = weakref.WeakSet()
        self._waiting = Gauge(f"{what}_sentences_waiting", waiting, _LABELS, NAMESPACE, registry=self._registry)

    def watch(self, stage: Waiting) -> None:
        """Count the sentences that wait in this stage for as long as it lives."""
        self._watched.add(stage)

    def read(self) -> tuple[Metric, ...]:
        """Return all families, without the times at which they were created."""
        self._waiting.clear()
        for stage in list(self._watched):
            for target, n_waiting in stage.n_waiting().items():
                self._waiting.labels(label_of(target)).inc(n_waiting)
        return families_of(self._registry)

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(f"{self._what}_{name}", about, _LABELS, NAMESPACE, registry=self._registry)

    def _histogram(self, name: str, about: str) -> Histogram:
        name = f"{self._what}_{name}"
        return Histogram(name, about, _LABELS, NAMESPACE, registry=self._registry, buckets=DELAY_BOUNDS_S)


class TranslationMetrics(_StageMetrics):
    """What is translated."""

    def __init__(self) -> None:
        super().__init__("translation", "whole sentences that wait to be translated")
        self.words = self._counter("words", "words of translations told")
        self.tokens = self._counter("tokens", "tokens that translators returned, drafts included")
        self.calls = self._counter("calls", "calls of translators, drafts included")
        self.seconds = self._counter("seconds", "time that translators took")
        self.failures = self._counter("failures", "calls that raised, or were not answered in time")
        self.skipped = self._counter("skipped_sentences", "sentences that were not translated, or not to their end")
        self.delay_s = self._histogram("delay_seconds", "from the event with a word to its translation")


class SpeechMetrics(_StageMetrics):
    """What is spoken."""

    def __init__(self) -> None:
        super().__init__("speech", "sentences that wait to be spoken")
        self.sentences = self._counter("sentences", "sentences that were spoken to their end")
        self.sound_s = self._counter("sound_seconds", "speech told, the silence between sentences included")
        self.seconds = self._counter("seconds", "time that voices took")
        self.failures = self._counter("failures", "phrases that a voice could not say, or not in time")
        self.skipped = self._counter("skipped_sentences", "sentences that were not spoken, or not to their end")
        self.first_sound_s = self._histogram(
            "first_sound_seconds", "what a voice took until the first sound of a phrase"
        )
        self.delay_s = self._histogram("delay_seconds", "from a text to its sound, for who plays all as it comes")


def label_of(target: str) -> str:
    """Return what a target is called where text must not be empty."""
    return target or "transcript"
