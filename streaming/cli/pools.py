"""Where a server has its inference done, as the flags of `serve` say."""

import argparse
import sys

from simul_whisper import AlignAttConfig, ConfigError, Model, load_model
from streaming.cli.options import ProgressBar, add_options, options_from
from streaming.sessions.pool import RunningPool
from streaming.settings import RayConfig, WorkerConfig

_HERE, _RAY = "here", "ray"


def add_pool_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where inference is done."""
    parser.add_argument(
        "--pool",
        choices=[_HERE, _RAY],
        default=_HERE,
        help="where inference is done: in this process, or by replicas that Ray Serve runs (default: here)",
    )
    add_options(parser, RayConfig, "Ray Serve", "With --pool ray; needs pip install 'simul-whisper[ray]'.")


def pool_from(
    options: argparse.Namespace,
    config: AlignAttConfig,
    worker_config: WorkerConfig,
    bar: ProgressBar,
) -> RunningPool:
    """Return the pool, which is not started yet. Raises ConfigError."""
    if options.pool == _RAY:
        return _ray_pool(options_from(RayConfig, options), config, worker_config)
    # Here, because the other commands do without the live extra.
    from streaming.sessions.worker import Worker

    return Worker(lambda: _loaded(config, bar), config, worker_config)


def _ray_pool(ray_config: RayConfig, config: AlignAttConfig, worker_config: WorkerConfig) -> RunningPool:
    """Join a cluster. Raises ConfigError."""
    try:
        from streaming.cluster.ray_replicas import RayReplicas
    except ModuleNotFoundError as error:
        raise ConfigError(f"--pool ray needs {error.name}; pip install 'simul-whisper[ray]'") from error
    from streaming.cluster.pool import ReplicaPool

    replicas = RayReplicas(ray_config, config, worker_config)
    _say(f"inference is done in {replicas.about}")
    return ReplicaPool(replicas, config, worker_config)


def _loaded(config: AlignAttConfig, bar: ProgressBar) -> Model:
    """Load the model, and say what runs it."""
    model = load_model(config, bar)
    info = model.info
    _say(f"model {info.name}, encoder {info.encoder}, decoder {info.decoder}")
    return model


def _say(notice: str) -> None:
    print(f"simul-whisper: {notice}", file=sys.stderr, flush=True)
