"""Replicas in child processes of this machine: started, and started anew when they die.

A child has the other end of its line as standard input, and ends when that is closed: by us, or because we were killed.
"""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from streaming.cluster.connection import ConnectionLine

logger = logging.getLogger(__name__)

# Before a child is started that could not be, or has died soon after: each time later, and the last for ever.
_DELAYS_S = (0.0, 1.0, 5.0, 30.0)
_SOON_S = 60.0
_PATIENCE_S = 5.0
# What CTranslate2, ONNX Runtime as we open it, and Apple's Accelerate go by; OpenBLAS has one thread anyway.
_THREADS = ("OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class ChildLine(ConnectionLine):
    """A line to a process, which ends with it."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", connection: "Connection[Any, Any]") -> None:
        super().__init__(name, connection)
        self.process, self.started_at = process, time.monotonic()

    def hang_up(self) -> None:
        super().close()

    def close(self) -> None:
        """Hang up, upon which the child ends; it is killed when it does not soon."""
        self.hang_up()
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ProcessReplicas:
    """`Replicas` that are so many processes. command: runs one. greeting: what each is told first, to be pickled.

    n_threads: how many each may share its work among. The others are started when the first is ready: what has to be
    fetched or converted is then there.
    """

    def __init__(self, command: Sequence[str], greeting: Any, n: int, n_threads: int = 1) -> None:
        self._command, self._greeting, self._n_threads = list(command), greeting, n_threads
        self._children: dict[str, ChildLine] = {}
        self._deaths = {f"worker-{number}": 0 for number in range(1, n + 1)}
        self._start_at = dict.fromkeys(self._deaths, 0.0)
        self._was_ready = False

    def lines(self) -> Mapping[str, ChildLine]:
        """As `Replicas.lines`; children that have died are started anew, a little later each time."""
        for name, child in list(self._children.items()):
            status = child.process.poll()
            if status is not None:
                self._bury(name, child, status)
        self._was_ready |= any(child.is_ready for child in self._children.values())
        names = list(self._deaths) if self._was_ready else list(self._deaths)[:1]
        for name in names:
            if name not in self._children and time.monotonic() >= self._start_at[name]:
                self._start(name)
        return {name: child for name, child in self._children.items() if not child.is_closed}

    def close(self) -> None:
        """End all children, and wait for that."""
        for child in self._children.values():
            child.hang_up()
        for child in self._children.values():
            child.close()
        self._children = {}

    @property
    def pids(self) -> dict[str, int]:
        """The processes of the children that there are, by name."""
        return {name: child.process.pid for name, child in self._children.items()}

    def _bury(self, name: str, child: ChildLine, status: int) -> None:
        del self._children[name]
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        self._put_off(name, f"has ended {how}", time.monotonic() - child.started_at)

    def _put_off(self, name: str, why: str, lived_s: float = 0.0) -> None:
        self._deaths[name] = 1 if lived_s > _SOON_S else self._deaths[name] + 1
        delay_s = _DELAYS_S[min(self._deaths[name], len(_DELAYS_S)) - 1]
        self._start_at[name] = time.monotonic() + delay_s
        logger.warning("%s %s; it is started anew%s", name, why, f" in {delay_s:g} s" if delay_s else "")

    def _start(self, name: str) -> None:
        try:
            self._children[name] = self._started(name)
        except OSError as error:
            # Such as when there are no processes or files any more; those that run go on.
            self._put_off(name, f"cannot be started: {error}")

    def _started(self, name: str) -> ChildLine:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = subprocess.Popen(
                [*self._command, name],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=self._environment(),
                # Ctrl-C in a terminal is for the server, which lets its sessions finish.
                start_new_session=True,
            )
            connection: Connection[Any, Any] = Connection(ours.detach())
        with suppress(OSError):
            # One that has ended already is noticed when it is asked.
            connection.send(self._greeting)
        return ChildLine(name, process, connection)

    def _environment(self) -> dict[str, str]:
        # An empty entry is wherever the server was started.
        found = [str(Path(__file__).parents[2]), *(each for each in sys.path if each)]
        paths = os.pathsep.join(str(Path(each).absolute()) for each in found)
        return dict.fromkeys(_THREADS, str(self._n_threads)) | os.environ | {"PYTHONPATH": paths}
