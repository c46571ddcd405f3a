"""All attacks, by name. To add one, write what it does and put it into its group."""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from scripts.hostile import compute, connections, containers
from scripts.hostile.target import Outcome, Target

Run = Callable[[Target, Outcome], Awaitable[None]]
COMPUTE, CONTAINERS, CONNECTIONS = "compute", "containers", "connections"


@dataclass(frozen=True)
class Attack:
    """what: what it tries, in a sentence. It is over after `n_connections`, or goes on until it is stopped."""

    name: str
    group: str
    what: str
    run: Run

    @property
    def is_over_by_itself(self) -> bool:
        return self.group == CONNECTIONS


def _attacks(group: str, *runs: Run) -> list[Attack]:
    return [Attack(_name(run), group, (run.__doc__ or "").splitlines()[0], run) for run in runs]


def _name(run: Callable[..., object]) -> str:
    return run.__name__.replace("_", "-")


def _of_kind(kind: connections.Kind) -> Attack:
    doc = kind.__doc__ or ""
    run = functools.partial(connections.of_one_kind, kind)
    return Attack(_name(kind), CONNECTIONS, f"Each connection {doc[0].lower()}{doc[1:]}", run)


ATTACKS = (
    *_attacks(
        COMPUTE,
        compute.heavy_fast,
        compute.fast,
        compute.flusher,
        compute.heavy_realtime,
        compute.clearer,
        compute.chooser,
        compute.opener,
    ),
    *_attacks(
        CONTAINERS,
        containers.sdp,
        containers.concat,
        containers.hls,
        containers.wav_1_hz,
        containers.wav_655_khz,
        containers.wav_64_channels,
        containers.wav_2_63,
        containers.bomb,
        containers.garbage,
        containers.drip,
    ),
    *map(_of_kind, connections.KINDS),
    *_attacks(CONNECTIONS, connections.flood),
)
BY_NAME = {attack.name: attack for attack in ATTACKS}
GROUPS = (COMPUTE, CONTAINERS, CONNECTIONS)
