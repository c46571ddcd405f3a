"""Which encoder runs: the one asked for, or the best one here; and what was chosen."""

import importlib.util
import weakref
from collections.abc import Callable
from pathlib import Path

from simul_whisper.blas import mx
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.encoders import AudioEncoder
from simul_whisper.encoders.fallback import EncoderStatus, FallbackEncoder
from simul_whisper.encoders.preparation import CoreMLUnavailableError, Preparation
from simul_whisper.errors import BackendError
from simul_whisper.progress import ProgressHandler, Stage, silent
from simul_whisper.weights.directory import load_directory
from simul_whisper.weights.model import Weights

_NOT_COMPILED = "the Core ML encoder is not compiled for this device yet; call warmup(), or set wait_for_compilation"


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
    status = EncoderStatus(backend, requested)
    if not may_use_coreml:
        loaded = _encoder(backend, config, weights)
        encoder = FallbackEncoder(status, lambda: loaded)
        encoder.load()
        return encoder
    current = _current(weights)
    preparation = _preparation(config, weights, current, runtime)
    encoder = FallbackEncoder(status, lambda: _encoder(backend, config, current()), preparation, progress)
    try:
        preparation.check_possible()
        if not config.load_in_background:
            _check_worth_waiting(preparation, config, was_asked_for=requested == "coreml")
    except CoreMLUnavailableError as why:
        encoder.fall_back(why)
    else:
        encoder.prepare() if config.load_in_background else encoder.warm_up(preparation.dims.n_mels)
    encoder.load()
    return encoder


def _check_worth_waiting(preparation: Preparation, config: AlignAttConfig, *, was_asked_for: bool) -> None:
    """Raise CoreMLUnavailableError unless Core ML is compiled, or compiling it is worth the wait."""
    waits = was_asked_for if config.wait_for_compilation is None else config.wait_for_compilation
    if not waits and not preparation.needs_no_wait():
        raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, _NOT_COMPILED)


def _current(weights: Weights) -> Callable[[], Weights]:
    """Return what gives the weights: these as long as somebody holds them, else read again.

    Held by the encoder as long as it lives, they would take memory for what is rarely needed.
    """
    held, source = weakref.ref(weights), weights.source.absolute()
    name, heads = weights.name, weights.alignment_heads

    def current() -> Weights:
        return held() or load_directory(name, source, heads)

    return current


def _preparation(
    config: AlignAttConfig, weights: Weights, current: Callable[[], Weights], runtime: CoreMLRuntime | None
) -> Preparation:
    return Preparation(
        model=config.model_path or config.model_name,
        names=tuple(name for name in (config.model_path, config.model_name) if name),
        # A program may change its working directory before the package is opened.
        path=str(Path(config.coreml_encoder_path).expanduser().absolute()) if config.coreml_encoder_path else None,
        directory=weights.directory.resolve(),
        dims=weights.dims,
        weights=current,
        compute_units=config.coreml_compute_units,
        timeout_s=config.compile_timeout,
        runtime=runtime,
    )


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
