"""What a pool counts, as Prometheus reads it."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric

DELAY_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 30.0)
_STEP_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
NAMESPACE = "simul_whisper"
WAITING_AUDIO, LISTENER_COST = f"{NAMESPACE}_waiting_audio_seconds", f"{NAMESPACE}_listener_cost"


class SessionMetrics:
    """Sums since it was made, in a registry of its own, so that pools in one process do not share counts.

    Any thread may add and read.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.sessions_open = self._gauge("sessions_open", "sessions that are not over")
        self.waiting_audio_s = self._gauge("waiting_audio_seconds", "audio that is due, and not yet decoded")
        self.sessions_opened = self._counter("sessions_opened", "sessions opened")
        self.sessions_refused = self._counter("sessions_refused", "sessions refused, because of what is open", "why")
        self.listeners_most = self._gauge("listeners_most", "listeners that can be served in time, as measured")
        self.listener_cost = self._gauge("listener_cost", "computation that a second of a listener takes, in seconds")
        self.sessions_failed = self._counter("sessions_failed", "sessions that ended with an error")
        self.audio_s = self._counter("audio_seconds", "audio taken, silence included")
        self.compute_s = self._counter("compute_seconds", "time spent in the engine")
        self.dropped_s = self._counter("dropped_audio_seconds", "audio that was never heard")
        self.words = self._counter("words", "words committed")
        self.queue_delay_s = self._histogram("queue_delay_seconds", "how long audio that was due waited for its turn")
        self.inference_s = self._histogram("inference_seconds", "what one call of the engine took")
        self.step_s = self._histogram("decoder_step_seconds", "what one step of the decoder took", _STEP_BOUNDS_S)
        self.word_delay_s = self._histogram("word_delay_seconds", "from the arrival of a word's audio to its event")

    def read(self) -> tuple[Metric, ...]:
        """Return all families, without the times at which they were created."""
        return families_of(self._registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, namespace=NAMESPACE, registry=self._registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, namespace=NAMESPACE, registry=self._registry)

    def _histogram(self, name: str, about: str, bounds_s: Iterable[float] = DELAY_BOUNDS_S) -> Histogram:
        return Histogram(name, about, namespace=NAMESPACE, registry=self._registry, buckets=tuple(bounds_s))


def families_of(registry: CollectorRegistry) -> tuple[Metric, ...]:
    """Return what a registry counts, without the times at which that was begun."""
    return tuple(_without_created(family) for family in registry.collect())


def told_apart(families_by_value: Mapping[str, Iterable[Metric]], label: str) -> tuple[Metric, ...]:
    """Return what several pools count as one family of each name, in which a label says whose a sample is."""
    found = dict[str, Metric]()
    for value, families in families_by_value.items():
        for family in families:
            whole = found.setdefault(family.name, Metric(family.name, family.documentation, family.type, family.unit))
            for sample in family.samples:
                whole.add_sample(sample.name, {**sample.labels, label: value}, sample.value)
    return tuple(found.values())


def gone_on_from(before: Iterable[Metric], families: Iterable[Metric]) -> tuple[Metric, ...]:
    """Return what is counted by a pool that takes the place of another: sums go on, and gauges are its own."""
    counted = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in before
        if family.type != "gauge"
        for sample in family.samples
    }
    found = list[Metric]()
    for family in families:
        found.append(Metric(family.name, family.documentation, family.type, family.unit))
        for sample in family.samples:
            so_far = counted.get((sample.name, *sorted(sample.labels.items())), 0.0)
            found[-1].add_sample(sample.name, sample.labels, so_far + sample.value)
    return tuple(found)


def _without_created(family: Metric) -> Metric:
    family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return family
