"""What a pool of replicas counts: as one thread does, summed up, and what each replica has to do."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily

from streaming.sessions.metrics import LISTENER_COST, NAMESPACE, WAITING_AUDIO, SessionMetrics, families_of

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

    from streaming.cluster.attendant import Attendant

# These a replica counts by what it is asked for: a session that moves, twice.
_OF_POOL = tuple(f"{NAMESPACE}_sessions_{each}" for each in ("open", "opened", "refused", "failed"))
_GAUGE = "gauge"
# Of replicas together this is no sum.


class PoolMetrics:
    """Any thread may add and read. sessions: of these, the families about sessions are the pool's own."""

    def __init__(self) -> None:
        self.sessions = SessionMetrics()
        self._registry = CollectorRegistry()
        self.replicas_lost = self._counter("replicas_lost", "replicas that did not answer any more")
        self.sessions_moved = self._counter("sessions_moved", "sessions that went on with another replica")
        self.replayed_s = self._counter("replayed_audio_seconds", "audio that another replica had to hear again")
        # What replicas had counted that are gone: sums must not go down.
        self._of_gone: tuple[Metric, ...] = ()

    def leave(self, attendant: "Attendant", *, is_lost: bool) -> None:
        """A replica is gone; what it had counted stays counted."""
        self.replicas_lost.inc(is_lost)
        counted = [family for family in attendant.metrics if family.type != _GAUGE]
        self._of_gone = summed([*self._of_gone, *counted])

    def read(self, attendants: Sequence["Attendant"], waiting_s: float) -> tuple[Metric, ...]:
        """Return all families, each once. waiting_s: of audio that waits here, to be taken by a replica."""
        own = {family.name: family for family in self.sessions.read()}
        of_replicas = [family for each in attendants for family in each.metrics]
        told = own | {each.name: each for each in summed([*self._of_gone, *of_replicas]) if each.name not in _OF_POOL}
        _change(told[WAITING_AUDIO], lambda value: value + waiting_s)
        _change(told[LISTENER_COST], lambda value: value / max(1, sum(bool(each.metrics) for each in attendants)))
        return (*told.values(), *families_of(self._registry), *_of_each(attendants))

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(name, about, namespace=NAMESPACE, registry=self._registry)


def summed(families: Iterable[Metric]) -> tuple[Metric, ...]:
    """Return one family of each name, whose samples are the sums of those of the same name and labels."""
    sums = dict[str, Metric]()
    for family in families:
        before = sums.get(family.name)
        merged = copy(family)
        if before is not None:
            values = {_key(sample): sample.value for sample in before.samples}
            merged.samples = [each._replace(value=each.value + values.pop(_key(each), 0.0)) for each in family.samples]
            merged.samples += [each for each in before.samples if _key(each) in values]
        sums[family.name] = merged
    return tuple(sums.values())


def _change(family: Metric, change: Callable[[float], float]) -> None:
    family.samples = [sample._replace(value=change(sample.value)) for sample in family.samples]


def _key(sample: "Sample") -> tuple[str, frozenset[tuple[str, str]]]:
    return sample.name, frozenset(sample.labels.items())


def _of_each(attendants: Sequence["Attendant"]) -> tuple[Metric, ...]:
    """Return what there is to do at each replica."""
    ready = GaugeMetricFamily(f"{NAMESPACE}_replica_ready", "1 when sessions may come", labels=["replica"])
    sessions = GaugeMetricFamily(f"{NAMESPACE}_replica_sessions", "sessions that it has", labels=["replica"])
    waiting = GaugeMetricFamily(
        f"{NAMESPACE}_replica_waiting_audio_seconds", "audio that it has not taken up", labels=["replica"]
    )
    for each in attendants:
        ready.add_metric([each.name], float(each.is_open))
        sessions.add_metric([each.name], each.n_sessions)
        waiting.add_metric([each.name], each.waiting_audio_s)
    return ready, sessions, waiting
