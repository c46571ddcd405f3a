"""Where a server has its inference done, as the flags of `serve` say."""

import argparse
import logging
import sys
from collections.abc import Mapping
from functools import partial

from simul_whisper import AlignAttConfig, BackendError, ConfigError, Model, load_model, n_cpus
from streaming.cli.logs import say
from streaming.cli.options import ProgressBar, add_options, options_from
from streaming.cli.served_models import models_from
from streaming.sessions.pool import RunningPool
from streaming.settings import ModelsConfig, RayConfig, WorkerConfig

logger = logging.getLogger(__name__)

_HERE, _RAY = "here", "ray"
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
    models = models_from(options, config)
    if models and (options.pool == _RAY or options.workers > 1):
        raise ConfigError(
            "got several models, or one with a name of yours, which threads serve; give one as it is called, or no "
            "--workers and no --pool ray"
        )
    if options.pool == _RAY:
        if options.workers != 1:
            raise ConfigError("--workers are processes of this machine; with --pool ray, use --ray-replicas")
        return _ray_pool(options_from(RayConfig, options), config, worker_config)
    if options.workers > 1:
        return _processes(options, config, worker_config)
    if models:
        return _several(models, options_from(ModelsConfig, options), worker_config, bar)
    return one_thread(config, worker_config, bar)


def one_thread(
    config: AlignAttConfig,
    worker_config: WorkerConfig,
    bar: ProgressBar | None = None,
    *,
    process: str = "",
    asked_for: str = "",
) -> RunningPool:
    """Return a pool of one thread of this process. process: its name, where there are several; then it lets all in
    that the server gives to it.

    asked_for: by what name strangers asked for the model, to whom it is told when it cannot be loaded.
    """
    # Here, because the other commands do without the live extra.
    from streaming.sessions.worker import Worker

    shown = bar or ProgressBar()
    load = partial(_loaded, config, shown, process, asked_for)
    return Worker(load, config, worker_config, lets_all_in=bool(process))


def _several(
    models: Mapping[str, AlignAttConfig], models_config: ModelsConfig, worker_config: WorkerConfig, bar: ProgressBar
) -> RunningPool:
    from streaming.sessions.models import ModelsPool

    first = next(iter(models))

    def make(name: str, config: AlignAttConfig) -> RunningPool:
        return one_thread(config, worker_config, bar, asked_for="" if name == first else name)

    return ModelsPool(models, make, models_config, most_sessions=worker_config.max_sessions, notice=say)


def _processes(options: argparse.Namespace, config: AlignAttConfig, worker_config: WorkerConfig) -> RunningPool:
    from streaming.cluster.pool import ReplicaPool
    from streaming.cluster.processes import ProcessReplicas
    from streaming.cluster.replica import of_replica

    n, greeting = options.workers, (config, of_replica(worker_config))
    # They write to the same standard error.
    command = [*_WORKER, options.log_format, options.log_level]
    return ReplicaPool(ProcessReplicas(command, greeting, n, _share_of_cores(n)), config, worker_config)


def _ray_pool(ray_config: RayConfig, config: AlignAttConfig, worker_config: WorkerConfig) -> RunningPool:
    """Join a cluster. Raises ConfigError."""
    from streaming.cluster.pool import ReplicaPool

    try:
        from streaming.cluster.ray_replicas import RayReplicas
    except ModuleNotFoundError as error:
        raise ConfigError(f"--pool ray needs {error.name}; pip install 'simul-whisper[ray]'") from error
    replicas = RayReplicas(ray_config, config, worker_config)
    say(f"inference is done by {replicas.about}")
    return ReplicaPool(replicas, config, worker_config)


def _share_of_cores(n: int) -> int:
    return max(1, n_cpus() // n)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of processes from 1")
    return int(text)


def _loaded(config: AlignAttConfig, bar: ProgressBar, process: str, asked_for: str) -> Model:
    """Load the model, and say what runs it."""
    try:
        model = load_model(config, bar)
    except Exception as error:
        if not asked_for:
            raise
        # What has failed, and where, is nobody's business but the server's.
        logger.warning("the model %s cannot be loaded: %s", asked_for, error)
        raise BackendError(f"the model {asked_for} cannot be used at present") from error
    finally:
        bar.close()
    info = model.info
    of_process = f"{process}: " if process else ""
    say(f"{of_process}model {info.name}, encoder {info.encoder}, decoder {info.decoder}")
    return model
