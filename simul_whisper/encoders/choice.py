"""Which encoder runs: the one asked for, or the best one here; and what was chosen."""

import importlib.util

from simul_whisper.blas import mx
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.preparation import current_weights, prepared
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.encoders import AudioEncoder
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
    requested = config.backend if config.encoder_backend == "auto" else config.encoder_backend
    may_use_coreml = requested == "coreml" or (requested == "auto" and runtime is not None)
    without = config.backend if config.backend in ("mlx", "ctranslate2") else _fastest_backend()
    backend = without if requested in ("auto", "coreml") else requested
    status = BackendStatus(backend, requested)
    if not may_use_coreml:
        loaded = _encoder(backend, config, weights)
        encoder = FallbackEncoder(status, lambda: loaded)
        encoder.load()
        return encoder
    current = current_weights(weights)
    kind = coreml_encoder(current, weights.dims, config.coreml_compute_units)
    preparation = prepared(kind, config.coreml_encoder_path, config, weights, runtime)
    encoder = FallbackEncoder(status, lambda: _encoder(backend, config, current()), preparation, progress)
    waits = requested == "coreml" if config.wait_for_compilation is None else config.wait_for_compilation
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
