"""A process that is a replica, and whose parent is the server: how it begins, and that it never outlives it."""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from streaming.cluster.replica import Replica
from streaming.sessions.pool import RunningPool


def run_child(make: Callable[[Any], RunningPool]) -> NoReturn:
    """Be a replica until the parent hangs up. make: returns the pool for what the parent says first."""
    # Who stops a server lets its sessions finish, so only the end of the line is the end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent: Connection[Any, Any] = Connection(os.dup(0))
    os.dup2(1, 0)
    try:
        replica = Replica(make(parent.recv()))
        replica.start()
        replica.serve(parent)
    except (EOFError, OSError):
        pass
    sys.stderr.flush()
    # At once, whatever inference runs.
    os._exit(0)
