"""How much is asked of a replica, from what its pool counts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from streaming.cluster.autoscaling import Load
from streaming.sessions.metrics import NAMESPACE

if TYPE_CHECKING:
    from prometheus_client import Metric


class LoadMeter:
    """clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at, self._compute_s = clock(), 0.0

    def load(self, metrics: "Sequence[Metric]", n_places: int | None) -> Load:
        """Return it as it is now; how busy it was, since it was asked last. n_places: as in `Health`."""
        counts = {sample.name: sample.value for family in metrics for sample in family.samples}
        n_open, waiting_s, compute_s = (
            counts[f"{NAMESPACE}_{name}"]
            for name in ("sessions_open", "waiting_audio_seconds", "compute_seconds_total")
        )
        now = self._clock()
        spent_s, elapsed_s = compute_s - self._compute_s, now - self._at
        self._at, self._compute_s = now, compute_s
        # A pass is counted when it is over, with what it took before.
        busy = min(1.0, spent_s / elapsed_s) if elapsed_s > 0 else 0.0
        full = 0.0 if n_places is None or not n_open else n_open / (n_open + n_places)
        return Load(waiting_s / n_open if n_open else 0.0, busy, full)
