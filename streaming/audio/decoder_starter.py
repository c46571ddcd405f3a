"""`python -m streaming.audio.decoder_starter`: starts a process for each container of a server, and kills it.

Its standard input is a socket, by which orders come. FFmpeg and all else is loaded once, and a process for a container
is a fork, which takes some milliseconds. Where a process must not be forked that has loaded frameworks, as on macOS,
each is started anew.

The starter itself never sees a byte of a client. It ends, and its processes with it, when the server does.
"""

import gc
import os
import signal
import socket
import sys

from streaming.audio.decoder_child import run_child, warm_up
from streaming.audio.decoder_messages import ORDER, Order

ONE_ONLY = "--one"
_CAN_FORK = sys.platform != "darwin"


def main(arguments: list[str]) -> None:
    # Who stops a server lets its sessions finish, so only the end of standard input is the end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    orders = socket.socket(fileno=os.dup(0))
    os.dup2(1, 0)
    if ONE_ONLY in arguments:
        warm_up()
        run_child(orders)
    _Starter(orders, can_fork=_CAN_FORK and "--no-fork" not in arguments).run()


class _Starter:
    """Children have the numbers that the server has given them: those of processes are used again."""

    def __init__(self, orders: socket.socket, *, can_fork: bool) -> None:
        self._orders, self._can_fork = orders, can_fork
        self._children: dict[int, int] = {}

    def run(self) -> None:
        """Obey until the server is gone."""
        if self._can_fork:
            warm_up()
            gc.freeze()
        while True:
            order, descriptors, _, _ = socket.recv_fds(self._orders, ORDER.size, 1)
            if len(order) < ORDER.size:
                break
            kind, number = ORDER.unpack(order)
            if Order(kind) is Order.START:
                self._start(number, descriptors)
            else:
                self._kill(number)
        for number in list(self._children):
            self._kill(number)

    def _start(self, number: int, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            # Without a child the server finds nobody at the other end.
            try:
                self._children[number] = self._forked(descriptor) if self._can_fork else _anew(descriptor)
            except OSError as error:
                sys.stderr.write(f"simul-whisper: no decoder can be started: {error}\n")
            os.close(descriptor)

    def _forked(self, descriptor: int) -> int:
        child = os.fork()
        if child == 0:
            self._orders.close()
            # What FFmpeg, or the allocator, says of a client's bytes is not for the server's log.
            os.dup2(1, 2)
            run_child(socket.socket(fileno=descriptor))
        return child

    def _kill(self, number: int) -> None:
        child = self._children.pop(number, None)
        if child is not None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _anew(descriptor: int) -> int:
    command = [sys.executable, "-m", "streaming.audio.decoder_starter", ONE_ONLY]
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, 0), (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)


if __name__ == "__main__":
    main(sys.argv[1:])
