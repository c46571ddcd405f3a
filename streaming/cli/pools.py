"""Where a server has its inference done, as the flags of `serve` say."""

import argparse
import logging
import sys

from simul_whisper import AlignAttConfig, BackendError, Model, load_model
from streaming.cli.options import ProgressBar, options_from
from streaming.cli.served_models import models_from
from streaming.sessions.pool import RunningPool
from streaming.settings import ModelsConfig, WorkerConfig

logger = logging.getLogger(__name__)


def pool_from(
    options: argparse.Namespace, config: AlignAttConfig, worker_config: WorkerConfig, bar: ProgressBar
) -> RunningPool:
    """Return the pool, which is not started yet. Raises ConfigError."""
    models = models_from(options, config)
    if not models:
        return _pool_of_one(config, worker_config, bar)
    # Here, because the other commands do without the live extra.
    from streaming.sessions.models import ModelsPool

    first = next(iter(models))

    def make(name: str, config: AlignAttConfig) -> RunningPool:
        return _pool_of_one(config, worker_config, bar, "" if name == first else name)

    models_config = options_from(ModelsConfig, options)
    return ModelsPool(models, make, models_config, most_sessions=worker_config.max_sessions, notice=_say)


def _pool_of_one(
    config: AlignAttConfig, worker_config: WorkerConfig, bar: ProgressBar, asked_for: str = ""
) -> RunningPool:
    """asked_for: by what name strangers asked for the model, to whom it is told when it cannot be loaded."""
    from streaming.sessions.worker import Worker

    return Worker(lambda: _loaded(config, bar, asked_for), config, worker_config)


def _loaded(config: AlignAttConfig, bar: ProgressBar, asked_for: str) -> Model:
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
    _say(f"model {info.name}, encoder {info.encoder}, decoder {info.decoder}")
    return model


def _say(notice: str) -> None:
    print(f"simul-whisper: {notice}", file=sys.stderr, flush=True)
