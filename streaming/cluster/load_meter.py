"""How much is asked of a replica, from what its pool counts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from streaming.cluster.autoscaling import Load
from streaming.sessions.metrics import NAMESPACE

if TYPE_CHECKING:
    from prometheus_client import Metric


class LoadMeter:
    """max_sessions: that the pool lets in. clock: monotonic seconds."""

    def __init__(self, max_sessions: int, clock: Callable[[], float]) -> None:
        self._max_sessions, self._clock = max_sessions, clock
        self._at, self._compute_s = clock(), 0.0

    def load(self, metrics: "Sequence[Metric]") -> Load:
        """Return it as it is now; how busy it was, since it was asked last."""
        counts = {sample.name: sample.value for family in metrics for sample in family.samples}
        n_open, waiting_s, compute_s = (
            counts[f"{NAMESPACE}_{name}"]
            for name in ("sessions_open", "waiting_audio_seconds", "compute_seconds_total")
        )
        now = self._clock()
        spent_s, elapsed_s = compute_s - self._compute_s, now - self._at
        self._at, self._compute_s = now, compute_s
        # Several sessions that are decoded at once count each their time.
        busy = min(1.0, spent_s / elapsed_s) if elapsed_s > 0 else 0.0
        return Load(waiting_s / n_open if n_open else 0.0, busy, min(1.0, n_open / self._max_sessions))
