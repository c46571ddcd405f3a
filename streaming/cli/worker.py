"""A process of `serve --workers`: it has a model of its own, and decodes the sessions that the server gives to it."""

import sys

from simul_whisper import AlignAttConfig
from streaming.cli.logs import server_log
from streaming.cli.pools import one_thread
from streaming.cluster.child import run_child
from streaming.sessions.pool import SWITCH_S, RunningPool
from streaming.settings import WorkerConfig


def main(log_format: str, log_level: str, name: str) -> None:
    # The server is not to wait for inference, whose libraries do not all let other threads run meanwhile.
    sys.setswitchinterval(SWITCH_S)

    def pool(settings: tuple[AlignAttConfig, WorkerConfig]) -> RunningPool:
        return one_thread(*settings, process=name)

    with server_log(log_format, log_level):
        run_child(pool)


if __name__ == "__main__":
    main(*sys.argv[1:])
