"""A TCP relay on loopback that can be pulled out: what a network does to a client, for tests and fault runs.

It knows bytes and nothing of what they say.
"""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_JOIN_S = 60.0


class TcpRelay:
    """To a port of this machine. n_refused: connections that are cut at once from now on."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.n_refused = 0
        self._answers = threading.Event()
        self._answers.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._ends = list[socket.socket]()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self.n_refused:
                self.n_refused -= 1
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._ends += [near, far]
            for source, target in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._relay, args=(source, target, source is far)))
                self._threads[-1].start()

    def _relay(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        try:
            while data := source.recv(4096):
                if is_answer:
                    self._answers.wait()
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            _shut(end)

    def pull(self) -> None:
        """Cut all connections, with what is on its way."""
        for end in list(self._ends):
            _shut(end)

    def turn_to(self, port: int) -> None:
        """Cut all connections; new ones go to another port."""
        self._target = port
        self.pull()

    def stay_away(self, away_s: float) -> None:
        """Cut all connections, and every new one for so long."""
        self.n_refused = sys.maxsize
        self.pull()
        time.sleep(away_s)
        self.n_refused = 0

    def hold_answers(self, held_s: float) -> None:
        """Bring the client nothing for so long."""
        self._answers.clear()
        time.sleep(held_s)
        self._answers.set()

    def close(self) -> None:
        _shut(self._listening)
        self._listening.close()
        self.pull()
        self._answers.set()
        for thread in self._threads:
            thread.join(_JOIN_S)
        for end in self._ends:
            end.close()


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay_to(port: int) -> Iterator[TcpRelay]:
    """Lay a relay, and take it away afterwards."""
    made = TcpRelay(port)
    try:
        yield made
    finally:
        made.close()
