"""How many files the process may have open, on systems that allow more, less, or more than they say."""

import resource
from dataclasses import dataclass

import pytest

from simul_whisper import ConfigError
from streaming.server.descriptors import make_room
from streaming.server.limits import Limits
from streaming.settings import WorkerConfig

LIMITS = Limits(max_connections=1_000, max_waiting=100)
# Connections, those that wait, and all else.
OTHERS = 1_000 + 2 * 100 + 192
INFINITY = resource.RLIM_INFINITY


@dataclass
class System:
    """In the place of the system's calls. most: what it really allows."""

    soft: int
    hard: int
    most: int = 1 << 30

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.soft, self.hard

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.most:
            raise ValueError("not allowed to raise maximum limit")
        self.soft, self.hard = limits


@pytest.mark.parametrize(
    ("system", "max_sessions", "soft"),
    [
        (System(256, 1 << 20), 8, OTHERS + 4 * 8),
        (System(1 << 16, 1 << 20), 8, 1 << 16),
        (System(INFINITY, INFINITY), 8, INFINITY),
        # Any number of sessions: as many as connections, where there is room for them.
        (System(256, 1 << 20), 0, OTHERS + 4 * 1_000),
        (System(256, INFINITY), 0, OTHERS + 4 * 1_000),
        (System(256, 2_000), 0, 2_000),
        (System(256, INFINITY, most=2_000), 0, OTHERS + 4 * 16),
        (System(1_900, INFINITY, most=2_000), 0, 1_900),
    ],
)
def test_there_is_room_for_what_may_come(
    system: System, max_sessions: int, soft: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(system, monkeypatch)
    make_room(LIMITS, WorkerConfig(max_sessions=max_sessions))
    assert system.soft == soft


@pytest.mark.parametrize("max_sessions", [0, 16])
@pytest.mark.parametrize("system", [System(256, 1_024), System(256, INFINITY, most=1_024)])
def test_where_there_is_none_it_is_said(system: System, max_sessions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(system, monkeypatch)
    with pytest.raises(ConfigError, match=f"^these limits need {OTHERS + 4 * 16} open files, and the system allows "):
        make_room(LIMITS, WorkerConfig(max_sessions=max_sessions))


def _install(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", system.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", system.setrlimit)
