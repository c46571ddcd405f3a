"""Files and sockets that the process may have open: enough of them for all connections that the limits allow."""

import resource

from simul_whisper import ConfigError
from streaming.server.limits import Limits
from streaming.settings import WorkerConfig

# The model, logs, libraries, what is accepted at once and what is being closed.
_OTHERS = 192
# A session whose audio comes in a container may have a decoder of its own.
_PER_SESSION = 4
# Where any number of sessions is let in, there is room for so many at least.
_LEAST_SESSIONS = 16


def make_room(limits: Limits, worker: WorkerConfig) -> None:
    """Raise the process's own limit as far as the system lets it. Raises ConfigError when that is not enough."""
    others = limits.max_connections + 2 * limits.max_waiting + _OTHERS
    wanted = needed = others + _PER_SESSION * (worker.max_sessions or _LEAST_SESSIONS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not worker.max_sessions:
        # As many as there are connections, where the system has that much room.
        wanted = max(needed, others + _PER_SESSION * limits.max_connections)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            f"these limits need {needed} open files, and the system allows {hard}; lower --max-connections or "
            f"--max-waiting, or raise the system's limit (ulimit -n)"
        )
    has_raised = _has_raised(wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
    # Some systems name no limit, and have one.
    if not has_raised and soft < needed and not _has_raised(needed, hard):
        raise ConfigError(
            f"these limits need {needed} open files, and the system allows {soft}; raise that (ulimit -n {needed})"
        )


def _has_raised(n: int, hard: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n, hard))
    except (OSError, ValueError):
        return False
    return True
