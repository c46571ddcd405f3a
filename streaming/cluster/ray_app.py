"""Replicas that Ray Serve runs: each a process that owns a model, listens for servers, and says how busy it is.

Serve places, starts and heals them, says how many there are, and lets one that is to go finish its sessions. What is
said to them goes over sockets of their own, since no call through Serve reaches a chosen replica, or one that is to go.

`app` is what `serve run deploy/ray.yaml` imports.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import ray
from ray import serve
from ray.serve import Application, Deployment

from simul_whisper import AlignAttConfig, ConfigError, from_mapping, load_model
from streaming.cluster.autoscaling import ByWaitingAudio
from streaming.cluster.load_meter import LoadMeter
from streaming.cluster.replica import Replica, of_replica
from streaming.cluster.sockets import Doorway, Whereabouts
from streaming.sessions.pool import SWITCH_S
from streaming.sessions.worker import Worker
from streaming.settings import RayConfig, WorkerConfig

logger = logging.getLogger(__name__)

APPLICATION = "simul-whisper"
_DEPLOYMENT = "Replica"
# One more is soon needed, and one less is worth a wait: the listeners of the next hour may be at the door.
PACE = {"upscale_delay_s": 5.0, "downscale_delay_s": 120.0, "look_back_period_s": 15.0}
_LOOK_S = 0.2
_HUNG_S = 60.0


class RayReplica:
    """What Serve makes of each replica. Its constructor returns when a real inference has succeeded."""

    def __init__(self, config: AlignAttConfig, worker_config: WorkerConfig) -> None:
        """Raises RuntimeError, of which Serve shows the message."""
        sys.setswitchinterval(SWITCH_S)
        load = partial(load_model, config)
        self._replica = Replica(Worker(load, config, of_replica(worker_config), lets_all_in=True))
        self._replica.start()
        health = self._replica.pool.wait_ready(threading.TIMEOUT_MAX)
        if not health.is_ready:
            raise RuntimeError(health.message)
        self._meter = LoadMeter(time.monotonic)
        name = serve.get_replica_context().replica_tag
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._doorway = Doorway(name, host, self._replica.serve)

    def whereabouts(self) -> Whereabouts:
        return self._doorway.whereabouts

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks for it, and gives it to the policy."""
        pool = self._replica.pool
        return vars(self._meter.load(pool.metrics(), pool.health().n_places))

    def check_health(self) -> None:
        """Serve asks for it, and replaces a replica that raises."""
        health = self._replica.pool.health()
        if not health.is_alive or health.busy_s > _HUNG_S:
            raise RuntimeError(health.message or f"an inference has been running for {health.busy_s:.0f} s")

    async def __del__(self) -> None:
        """Serve awaits it before a replica goes, for `graceful_shutdown_timeout_s` at most."""
        self._replica.drain()
        while self._replica.n_sessions:
            await asyncio.sleep(_LOOK_S)
        self._doorway.close()


def application(config: AlignAttConfig, worker_config: WorkerConfig, ray_config: RayConfig) -> Application:
    """Return what Serve is to run."""
    return deployment(ray_config).bind(config, worker_config)


def app(arguments: Mapping[str, Any]) -> Application:
    """Return what Serve is to run, from the `args` of its config file: tables `engine`, of the settings of the engine,
    and `worker`, of those of the thread that serves all sessions. Raises ConfigError.
    """
    unknown = arguments.keys() - {"engine", "worker"}
    if unknown:
        raise ConfigError(f"args: got {', '.join(sorted(unknown))}, expected engine and worker")
    engine = AlignAttConfig.from_mapping(arguments.get("engine", {}), "args: engine")
    worker = from_mapping(WorkerConfig, arguments.get("worker", {}), "args: worker")
    return application(engine, worker, RayConfig())


def deployment(config: RayConfig, pace: Mapping[str, float] = PACE) -> Deployment:
    """Return how Serve is to run replicas; a config file may say it otherwise. pace: as in Serve's autoscaling."""
    scaling: dict[str, Any] = {
        "min_replicas": config.ray_replicas,
        "max_replicas": max(config.ray_replicas, config.ray_most_replicas),
        "policy": {"policy_function": f"{ByWaitingAudio.__module__}:{ByWaitingAudio.__name__}"},
    }
    made = serve.deployment(
        name=_DEPLOYMENT,
        ray_actor_options={"num_cpus": config.ray_cpus, "num_gpus": config.ray_gpus},
        autoscaling_config={**scaling, **pace},
        graceful_shutdown_timeout_s=config.ray_drain_s,
        max_constructor_retry_count=3,
    )
    return made(RayReplica)
