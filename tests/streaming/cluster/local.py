"""Replicas in threads of this process, each at the other end of a real connection, which can be cut."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from typing import Any

from streaming.cluster.connection import ConnectionLine
from streaming.cluster.pool import ReplicaPool
from streaming.cluster.replica import Replica
from streaming.sessions.pool import RunningPool
from streaming.settings import WorkerConfig
from tests.streaming.serving import CONFIG, PATIENCE_S
from tests.streaming.working import made


class LocalReplicas:
    """`Replicas` that can be killed, and started. make: the pool of one."""

    def __init__(self, n: int, make: Callable[[], RunningPool]) -> None:
        self._make, self._lock = make, threading.Lock()
        self.replicas: dict[str, Replica] = {}
        self._lines: dict[str, ConnectionLine] = {}
        self._far_ends: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []
        for _ in range(n):
            self.add()

    def add(self) -> str:
        """Start another one, and return its name."""
        name = f"replica-{len(self._threads) + 1}"
        near, far = Pipe()
        replica = Replica(self._make())
        replica.start()
        thread = threading.Thread(target=replica.serve, args=(far,), name=name)
        thread.start()
        self._threads.append(thread)
        with self._lock:
            self.replicas[name], self._far_ends[name] = replica, far
            self._lines[name] = ConnectionLine(name, near)
        return name

    def kill(self, name: str) -> None:
        """It does not say another word."""
        with self._lock:
            del self._lines[name]
            far, replica = self._far_ends.pop(name), self.replicas.pop(name)
        _cut(far)
        replica.stop()

    def lines(self) -> Mapping[str, ConnectionLine]:
        with self._lock:
            return dict(self._lines)

    def close(self) -> None:
        with self._lock:
            lines, replicas = list(self._lines.values()), list(self.replicas.values())
        for line in lines:
            line.close()
        for replica in replicas:
            replica.stop()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def _cut(connection: Any) -> None:
    """End a connection, which its own thread closes: what is closed here might be another's by then."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


@contextmanager
def replica_pool(
    n: int = 2, make: Callable[[], RunningPool] = made, *, patience_s: float = PATIENCE_S, **options: Any
) -> Iterator[tuple[ReplicaPool, LocalReplicas]]:
    """A pool whose replicas are ready, and these."""
    replicas = LocalReplicas(n, make)
    pool = ReplicaPool(replicas, CONFIG, WorkerConfig(**options), patience_s=patience_s)
    pool.start()
    try:
        wait_for(lambda: sum(of_each(pool, "ready").values()) == n)
        yield pool, replicas
    finally:
        pool.stop()


def of_each(pool: ReplicaPool, what: str) -> dict[str, float]:
    """What the pool tells of each replica, by name."""
    samples = [each for family in pool.metrics() for each in family.samples]
    return {each.labels["replica"]: each.value for each in samples if each.name.endswith(f"_replica_{what}")}


def wait_for(is_so: Callable[[], bool]) -> None:
    """Look again until it is so."""
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, "it never came to be so"
        time.sleep(0.005)
