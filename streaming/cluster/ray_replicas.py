"""The replicas that Ray Serve runs, as a server sees them: it joins a cluster, has replicas made there unless there are
some, and finds out where they are.
"""

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from simul_whisper import AlignAttConfig, ConfigError
from streaming.cluster.connection import ConnectionLine
from streaming.cluster.line import Answer, Command, Line, LineLostError
from streaming.cluster.ray_app import APPLICATION, application
from streaming.cluster.sockets import Whereabouts, connected
from streaming.sessions.pool import Health, State
from streaming.settings import RayConfig, WorkerConfig

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_ANSWER_S, _CONNECT_S = 5.0, 5.0
# Serve's own HTTP has nothing to serve.
_NO_PROXY = "Disabled"
# Nothing of ours is in Ray's store of objects, which has at least this size.
_STORE_BYTES = 80 << 20
# What is told to the one who runs a cluster is in Ray's own files. Nobody else is told of it. Inference is not to come
# after all else on this machine, as Ray has it.
_ENVIRONMENT = {"GRPC_VERBOSITY": "ERROR", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
_NEW, _ANY = "local", "auto"
_NONE = "none"


class RayReplicas:
    """`Replicas` of the application that runs in a cluster; where it does not yet, it is made to run.

    about: which cluster that is, for whoever reads what the server says.
    """

    def __init__(self, ray_config: RayConfig, config: AlignAttConfig, worker_config: WorkerConfig) -> None:
        """Join the cluster. Raises ConfigError."""
        self._application = application(config, worker_config, ray_config)
        self.about = _joined(ray_config)
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._lines = dict[str, tuple[Line, Connection]]()
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name="whereabouts", daemon=True)

    def lines(self) -> Mapping[str, Line]:
        """As `Replicas.lines`. When no replica can be made, there is one that says why."""
        if self._thread.ident is None:
            self._thread.start()
        with self._lock:
            self._lines = {name: (line, at) for name, (line, at) in self._lines.items() if not at.closed}
            lines = {name: line for name, (line, _) in self._lines.items()}
        return lines or ({_NONE: NoReplica(self._failure)} if self._failure else {})

    def close(self) -> None:
        """Leave the cluster. What runs there goes on, unless the cluster is this server's own."""
        self._stopping.set()
        if self._thread.ident is not None:
            # What it might still ask of Ray afterwards would make a new cluster.
            self._thread.join()
        for line, _ in self._lines.values():
            line.close()
        ray.shutdown()

    def _run(self) -> None:
        handle: DeploymentHandle[Any] | None = None
        while not self._stopping.is_set():
            try:
                self._failure = "" if self._lines else _failure()
                handle = handle or self._handle()
                self._look(handle)
            except (RayError, RayServeException, RuntimeError, TimeoutError, ValueError) as error:
                logger.debug("no replica is found: %s", error)
                handle = None
            self._stopping.wait(_LOOK_S)

    def _handle(self) -> DeploymentHandle[Any]:
        """Return a handle of the application, which is made to run where it does not."""
        if APPLICATION in serve.status().applications:
            return serve.get_app_handle(APPLICATION)
        serve.start(proxy_location=_NO_PROXY)
        made = serve.RunTarget(self._application, APPLICATION, route_prefix=None)
        return serve.run_many([made], wait_for_applications_running=False)[0]

    def _look(self, handle: DeploymentHandle[Any]) -> None:
        """Find replicas that are new. One that is not found any more may be about to go; its line says when."""
        for where in handle.broadcast("whereabouts").results(timeout_s=_ANSWER_S, return_exceptions=True):
            if isinstance(where, Whereabouts) and where.name not in self._lines:
                self._add(where)

    def _add(self, where: Whereabouts) -> None:
        try:
            connection = connected(where)
        except LineLostError as error:
            logger.warning("%s", error)
            return
        with self._lock:
            self._lines[where.name] = ConnectionLine(where.name, connection), connection


class NoReplica:
    """A `Line` to a replica that could not be made, which says why."""

    name = _NONE

    def __init__(self, why: str) -> None:
        self._health = Health(State.FAILED, is_alive=False, is_ready=False, busy_s=0.0, message=why)

    def exchange(self, commands: Sequence[Command]) -> Answer:  # noqa: ARG002
        return Answer((), self._health)

    def close(self) -> None:
        pass


def _failure() -> str:
    """Return why Serve has given up to make replicas; empty when it has not."""
    status = serve.status().applications.get(APPLICATION)
    if status is None or status.status is not ApplicationStatus.DEPLOY_FAILED:
        return ""
    # The last line of a replica's traceback is what it died of.
    said = [line for each in status.deployments.values() for line in each.message.splitlines() if line.strip()]
    return f"Ray Serve can make no replica: {said[-1] if said else status.message}"


def _remembered() -> str:
    """Return the address of the cluster that Ray would join by itself, if any. It may be that of one that has died."""
    file = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    return os.environ.get("RAY_ADDRESS") or (file.read_text("utf-8").strip() if file.exists() else "")


def _check_reached(address: str) -> None:
    """Raise OSError or ValueError when nothing is there, of which Ray makes sure for minutes."""
    is_named = address not in ("", _ANY)
    host, _, port = (address if is_named else _remembered()).rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    elif is_named:
        raise ValueError(f"it is not HOST:PORT, {_ANY} or {_NEW}")


def _joined(config: RayConfig) -> str:
    """Join the cluster, and return which it is. Raises ConfigError."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    joined = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    address = config.ray_address
    if address != _NEW:
        try:
            _check_reached(address)
            joined(address or _ANY)
            return f"the Ray cluster at {ray.get_runtime_context().gcs_address}"
        except (OSError, RayError, RuntimeError, ValueError) as error:
            if address:
                why = str(error).strip().split("\n")[0]
                raise ConfigError(
                    f"no Ray cluster can be joined at {address}: {why}; on each of its machines, run `ray start`"
                ) from error
    joined(_NEW, include_dashboard=False, object_store_memory=_STORE_BYTES)
    return "a new Ray cluster on this machine"
