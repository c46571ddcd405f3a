"""Which encoder runs: the one asked for, or the best one here; and what was chosen."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from simul_whisper.blas import mx
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.preparation import Kind, current_weights, prepared
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.encoders.fallback import FallbackEncoder, coreml_encoder
from simul_whisper.errors import BackendError
from simul_whisper.fallback import BackendStatus
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.weights.model import Weights


def choose_encoder(
    config: AlignAttConfig,
    weights: Weights,
    progress: ProgressHandler = silent,
    runtime: CoreMLRuntime | None = None,
) -> FallbackEncoder:
    """Return the encoder that the config asks for. Raises BackendError when it cannot run here.

    runtime: what runs Core ML; None where there is no Core ML. Core ML that cannot run is reported and another one is
    taken, as it is where `auto` would have preferred Core ML.
    """
    requested = requested_backend(config)
    without = config.backend if config.backend in ("mlx", "ctranslate2") else _fastest_backend()
    backend = without if requested in ("auto", "coreml") else requested
    current = current_weights(weights)
    return changing_encoder(
        config,
        BackendStatus(backend, requested),
        lambda: _encoder(backend, config, current()),
        lambda: coreml_encoder(current, weights.dims, config.coreml_compute_units),
        weights.directory,
        progress,
        runtime,
    )


def requested_backend(config: AlignAttConfig) -> str:
    """Return which backend the config asks for, auto included."""
    requested = config.backend if config.encoder_backend == "auto" else config.encoder_backend
    return "coreml" if requested == "hybrid" else requested


def changing_encoder(
    config: AlignAttConfig,
    status: BackendStatus,
    make: Callable[[], AudioEncoder],
    kind: Callable[[], Kind[AudioEncoder, Features]],
    directory: Path,
    progress: ProgressHandler,
    runtime: CoreMLRuntime | None,
) -> FallbackEncoder:
    """Return an encoder, ready as the config asks for, that Core ML runs where it may.

    status, make: of the encoder that runs otherwise. kind: how it runs in Core ML. directory: of the weights.
    """
    if not (status.requested == "coreml" or (status.requested == "auto" and runtime is not None)):
        encoder = FallbackEncoder(status, make)
        encoder.load()
        return encoder
    preparation = prepared(kind(), config.coreml_encoder_path, config, directory, runtime)
    encoder = FallbackEncoder(status, make, preparation, progress)
    waits = status.requested == "coreml" if config.wait_for_compilation is None else config.wait_for_compilation
    encoder.get_ready(waits=waits, in_background=config.load_in_background)
    return encoder


def _encoder(backend: str, config: AlignAttConfig, weights: Weights) -> AudioEncoder:
    if backend == "mlx":
        from simul_whisper.encoders.mlx import MlxEncoder

        # An encoder multiplies whole matrices, which fewer bits make no faster.
        quantization = "auto" if config.quantization == "fastest" else config.quantization
        return MlxEncoder(weights, config.decoder_device, quantization, fallback_to_float16=config.fallback_to_float16)
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
