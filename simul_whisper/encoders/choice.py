"""Which encoder runs: the one asked for, or the best one here; and what was chosen."""

import importlib.util
from collections.abc import Callable
from functools import partial

from simul_whisper.blas import mx
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.encoders import AudioEncoder
from simul_whisper.encoders.preparation import CoreMLUnavailableError, Preparation
from simul_whisper.encoders.slot import EncoderSlot, EncoderStatus
from simul_whisper.errors import BackendError
from simul_whisper.progress import ProgressHandler, Stage, silent
from simul_whisper.weights.directory import load_directory
from simul_whisper.weights.model import Weights

_NOT_COMPILED = "not compiled for this device yet; warmup() does that, or wait_for_compilation"


def choose_encoder(
    config: AlignAttConfig,
    weights: Weights,
    progress: ProgressHandler = silent,
    runtime: CoreMLRuntime | None = None,
) -> EncoderSlot:
    """Return the encoder that the config asks for. Raises BackendError when it cannot run here.

    runtime: what runs Core ML; None where there is no Core ML. Core ML that cannot run is reported and another one is
    taken, as it is where `auto` would have preferred Core ML.
    """
    requested = config.backend if config.encoder_backend == "auto" else config.encoder_backend
    backend = _fastest_backend() if requested in ("auto", "coreml") else requested
    status = EncoderStatus(backend, requested)
    if requested not in ("auto", "coreml") or (requested == "auto" and runtime is None):
        encoder = _encoder(backend, config, weights)
        return EncoderSlot(status, lambda: encoder)
    # Held by the slot as long as it lives, the weights would take memory that is rarely needed again.
    reload = partial(load_directory, weights.name, weights.directory, weights.alignment_heads)
    preparation = _preparation(config, weights, reload, runtime)
    slot = EncoderSlot(status, lambda: _encoder(backend, config, reload()), preparation, progress)
    if config.load_in_background:
        slot.prepare()
    else:
        _begin_with_coreml(slot, preparation, config, progress, must_wait=requested == "coreml")
    return slot


def _begin_with_coreml(
    slot: EncoderSlot, preparation: Preparation, config: AlignAttConfig, progress: ProgressHandler, *, must_wait: bool
) -> None:
    """Take Core ML if it is compiled, or if compiling it is worth the wait."""
    waits = must_wait if config.wait_for_compilation is None else config.wait_for_compilation
    try:
        if not waits and not preparation.is_compiled(progress):
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, _NOT_COMPILED)
    except CoreMLUnavailableError as why:
        slot.fall_back(why)
    else:
        slot.warm_up(preparation.dims.n_mels)


def _preparation(
    config: AlignAttConfig, weights: Weights, reload: Callable[[], Weights], runtime: CoreMLRuntime | None
) -> Preparation:
    return Preparation(
        model=weights.name,
        path=config.coreml_encoder_path,
        dims=weights.dims,
        weights=reload,
        compute_units=config.coreml_compute_units,
        timeout_s=config.compile_timeout,
        runtime=runtime,
    )


def _encoder(backend: str, config: AlignAttConfig, weights: Weights) -> AudioEncoder:
    if backend == "mlx":
        from simul_whisper.encoders.mlx import MlxEncoder

        return MlxEncoder(
            weights, config.decoder_device, config.quantization, fallback_to_float16=config.fallback_to_float16
        )
    if importlib.util.find_spec("ctranslate2") is None:
        raise BackendError(
            "ctranslate2 is not installed; pip install 'simul-whisper[cpu]', or use encoder_backend = mlx"
        )
    from simul_whisper.encoders.ctranslate2 import CTranslate2Encoder

    return CTranslate2Encoder(weights, config.encoder_compute_type)


def _fastest_backend() -> str:
    """MLX on Apple's GPUs; elsewhere CTranslate2, which is several times faster, when it is installed."""
    if mx.metal.is_available() or importlib.util.find_spec("ctranslate2") is None:
        return "mlx"
    return "ctranslate2"
