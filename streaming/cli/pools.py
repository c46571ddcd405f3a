"""Where a server has its inference done, as the flags of `serve` say."""

import argparse
import os
import sys

from simul_whisper import AlignAttConfig, ConfigError, Model, load_model
from streaming.cli.options import ProgressBar, add_options, options_from
from streaming.sessions.pool import RunningPool
from streaming.settings import RayConfig, WorkerConfig

_HERE, _RAY = "here", "ray"

# Sockets are not to wait for inference, whose libraries do not all let other threads run meanwhile.
SWITCH_S = 0.0005
_WORKER = [sys.executable, "-m", "streaming.cli.worker"]


def add_pool_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where inference is done."""
    parser.add_argument(
        "--pool",
        choices=[_HERE, _RAY],
        default=_HERE,
        help="where inference is done: on this machine, or by replicas that Ray Serve runs (default: here)",
    )
    parser.add_argument(
        "--workers",
        type=_at_least_one,
        default=1,
        metavar="N",
        help="processes that decode, each with a model of its own and its share of the cores; 1 = a thread of the "
        "server, and no process (default: 1)",
    )
    add_options(parser, RayConfig, "Ray Serve", "With --pool ray; needs pip install 'simul-whisper[ray]'.")


def pool_from(
    options: argparse.Namespace, config: AlignAttConfig, worker_config: WorkerConfig, bar: ProgressBar
) -> RunningPool:
    """Return the pool, which is not started yet. Raises ConfigError."""
    if options.pool == _RAY:
        if options.workers != 1:
            raise ConfigError("--workers are processes of this machine; with --pool ray, use --ray-replicas")
        return _ray_pool(options_from(RayConfig, options), config, worker_config)
    if options.workers == 1:
        return one_thread(config, worker_config, bar)
    return _processes(options.workers, config, worker_config)


def one_thread(
    config: AlignAttConfig, worker_config: WorkerConfig, bar: ProgressBar | None = None, name: str = ""
) -> RunningPool:
    """Return a pool of one thread of this process. name: what comes before what it says of its model."""
    # Here, because the other commands do without the live extra.
    from streaming.sessions.worker import Worker

    shown = bar or ProgressBar()
    return Worker(lambda: _loaded(config, shown, name), config, worker_config)


def _processes(n: int, config: AlignAttConfig, worker_config: WorkerConfig) -> RunningPool:
    from streaming.cluster.pool import ReplicaPool
    from streaming.cluster.processes import ProcessReplicas
    from streaming.cluster.replica import of_replica

    greeting = (config, of_replica(worker_config))
    return ReplicaPool(ProcessReplicas(_WORKER, greeting, n, _share_of_cores(n)), config, worker_config)


def _ray_pool(ray_config: RayConfig, config: AlignAttConfig, worker_config: WorkerConfig) -> RunningPool:
    """Join a cluster. Raises ConfigError."""
    from streaming.cluster.pool import ReplicaPool

    try:
        from streaming.cluster.ray_replicas import RayReplicas
    except ModuleNotFoundError as error:
        raise ConfigError(f"--pool ray needs {error.name}; pip install 'simul-whisper[ray]'") from error
    replicas = RayReplicas(ray_config, config, worker_config)
    print(f"simul-whisper: inference is done by {replicas.about}", file=sys.stderr, flush=True)
    return ReplicaPool(replicas, config, worker_config)


def _share_of_cores(n: int) -> int:
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, n_cores // n)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of processes from 1")
    return int(text)


def _loaded(config: AlignAttConfig, bar: ProgressBar, name: str) -> Model:
    """Load the model, and say what runs it."""
    model = load_model(config, bar)
    bar.close()
    info = model.info
    said = f"{name}model {info.name}, encoder {info.encoder}, decoder {info.decoder}"
    print(f"simul-whisper: {said}", file=sys.stderr, flush=True)
    return model
