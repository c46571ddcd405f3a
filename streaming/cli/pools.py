"""Where a server has its inference done, as the flags of `serve` say."""

import argparse
import sys

from simul_whisper import AlignAttConfig, Model, load_model
from streaming.cli.options import ProgressBar
from streaming.sessions.pool import RunningPool
from streaming.settings import WorkerConfig


def pool_from(
    options: argparse.Namespace,  # noqa: ARG001
    config: AlignAttConfig,
    worker_config: WorkerConfig,
    bar: ProgressBar,
) -> RunningPool:
    """Return the pool, which is not started yet. Raises ConfigError."""
    # Here, because the other commands do without the live extra.
    from streaming.sessions.worker import Worker

    return Worker(lambda: _loaded(config, bar), config, worker_config)


def _loaded(config: AlignAttConfig, bar: ProgressBar) -> Model:
    """Load the model, and say what runs it."""
    model = load_model(config, bar)
    info = model.info
    print(
        f"simul-whisper: model {info.name}, encoder {info.encoder}, decoder {info.decoder}", file=sys.stderr, flush=True
    )
    return model
