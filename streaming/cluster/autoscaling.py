"""How many replicas there should be, by the audio that waits for them.

Requests say nothing here: a listener who is silent costs nothing, and ten who speak may be too many. It is pure, and
knows no Ray: Serve pickles this module, asks the policy some times a second, and acts once an answer has been the same
for `upscale_delay_s` or `downscale_delay_s`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

# At most so many times as many at once: audio goes on to wait at one replica until another is there.
_MOST_GROWTH = 2


@dataclass(frozen=True)
class Load:
    """Of one replica. waiting_s: audio that is due and not yet decoded, in the mean of its sessions.

    busy: the share of the time in which it decodes, 0-1. full: of the sessions that it takes, the share that is open.
    """

    waiting_s: float
    busy: float
    full: float


@dataclass(frozen=True)
class Bounds:
    """What a replica may have of each, beyond which there should be more replicas.

    calm: there is one too many when the others would have at most this share of what they may.
    """

    waiting_s: float = 1.0
    busy: float = 0.75
    full: float = 0.9
    calm: float = 0.6

    def __post_init__(self) -> None:
        if not all(vars(self).values()) or min(vars(self).values()) < 0 or self.calm >= 1:
            raise ValueError(f"got {self}, expected numbers above 0, and calm below 1")


def pressure(load: Load, bounds: Bounds) -> float:
    """Return how much is asked of a replica, 1 being what it may have."""
    return max(load.waiting_s / bounds.waiting_s, load.busy / bounds.busy, load.full / bounds.full)


def wanted_replicas(loads: Sequence[Load], bounds: Bounds) -> int:
    """Return how many there should be in place of these, which are at least one: all that is needed at once, or one
    less.
    """
    n, asked = len(loads), sum(pressure(each, bounds) for each in loads)
    if asked > n:
        return min(_MOST_GROWTH * n, math.ceil(asked))
    return n - 1 if n > 1 and asked <= bounds.calm * (n - 1) else n


class Context(Protocol):
    """What of Serve's `AutoscalingContext` is used. aggregated_metrics: by name, and then by replica."""

    @property
    def target_num_replicas(self) -> int: ...

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]] | None: ...


class ByWaitingAudio:
    """A policy of Ray Serve; its arguments are those of `Bounds`."""

    def __init__(self, **bounds: float) -> None:
        self._bounds = Bounds(**bounds)

    def __call__(self, context: Context) -> tuple[int, dict[str, Any]]:
        """Return how many replicas there should be, and nothing to remember."""
        loads, target = _loads(context.aggregated_metrics or {}), context.target_num_replicas
        wanted = wanted_replicas(loads, self._bounds) if loads else target
        # What those will bear that are only being made, or have not reported yet, is not known.
        return (target if len(loads) < target and wanted >= len(loads) else wanted), {}


def _loads(metrics: Mapping[str, Mapping[Any, float]]) -> list[Load]:
    """Return the loads of the replicas that have reported all of it."""
    reported = [metrics.get(each.name, {}) for each in fields(Load)]
    return [Load(*(values[replica] for values in reported)) for replica in reported[0].keys() & reported[-1].keys()]
