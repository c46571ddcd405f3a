"""The processes in which FFmpeg decodes what clients send, as the server has them: started, and killed.

A starter of them runs beside the server from the first container on. It is started again when it has died, which costs
the sessions nothing that have their process already. Nothing here waits for it.
"""

import atexit
import itertools
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from streaming.audio.decoder_messages import ORDER, Order

# What a process needs to run Python, and nothing else: tokens may stand in the environment.
_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "TMPDIR", "PYTHONHOME")
# One thread needs one arena; each other takes address space.
_SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
_PATIENCE_S = 5.0


class DecoderProcesses:
    """Starts and kills them, for any thread. arguments: of the starter."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        # The garbage collector may close a decoder while another is being started.
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._starter: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def start(self) -> tuple[socket.socket, int]:
        """Return a socket at whose other end a process decodes, and its number. Raises OSError when none can be had."""
        ours, theirs = socket.socketpair()
        number = next(self._numbers)
        try:
            with theirs:
                self._order(Order.START, number, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        return ours, number

    def kill(self, number: int) -> None:
        """End a process, which may have ended by itself."""
        with self._lock, suppress(OSError):
            if self._orders is not None:
                self._orders.send(ORDER.pack(Order.KILL.value, number))

    def give_up(self) -> None:
        """Kill a starter that does not answer; the next process gets another one."""
        with self._lock:
            self._end()

    def close(self) -> None:
        """End the starter and all processes, and wait for that."""
        with self._lock:
            if self._orders is not None and self._starter is not None:
                self._orders.close()
                with suppress(subprocess.TimeoutExpired):
                    self._starter.wait(_PATIENCE_S)
            self._end()

    @property
    def starter_pid(self) -> int | None:
        """The starter's process; None before there is one."""
        return self._starter.pid if self._starter else None

    def _order(self, order: Order, number: int, descriptor: int) -> None:
        with self._lock:
            if self._starter is None or self._starter.poll() is not None:
                self._begin()
            try:
                self._send(order, number, descriptor)
            except OSError:
                # It has just died, or hangs.
                self._begin()
                self._send(order, number, descriptor)

    def _send(self, order: Order, number: int, descriptor: int) -> None:
        assert self._orders is not None
        socket.send_fds(self._orders, [ORDER.pack(order.value, number)], [descriptor])

    def _begin(self) -> None:
        self._end()
        atexit.unregister(self.close)
        atexit.register(self.close)
        self._orders, theirs = socket.socketpair()
        # Rather no decoder than a server that waits for one.
        self._orders.setblocking(False)
        with theirs:
            self._starter = subprocess.Popen(
                [sys.executable, "-m", "streaming.audio.decoder_starter", *self._arguments],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
                # Modules are not looked for where the server happens to have been started.
                cwd="/",
                # Ctrl-C in a terminal is for the server.
                start_new_session=True,
            )

    def _end(self) -> None:
        if self._orders is not None:
            self._orders.close()
        if self._starter is not None:
            self._starter.kill()
            self._starter.wait()
        self._orders = self._starter = None


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # An empty entry is wherever the server was started.
    found = [str(Path(__file__).parents[2]), *(each for each in sys.path if each)]
    return kept | _SINGLE | {"PYTHONPATH": os.pathsep.join(str(Path(each).absolute()) for each in found)}
