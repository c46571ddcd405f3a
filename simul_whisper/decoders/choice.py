"""Which decoder runs: the one asked for, or the fastest here."""

import sys

from simul_whisper.config import AlignAttConfig
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.decoders.numpy import NumpyDecoder
from simul_whisper.errors import BackendError
from simul_whisper.parameters import resolved_device
from simul_whisper.weights.model import Weights


def choose_decoder(config: AlignAttConfig, weights: Weights) -> MlxDecoder | NumpyDecoder:
    """Return the decoder that the config asks for. Raises BackendError when it cannot run here."""
    backend = config.decoder_backend
    if backend == "auto":
        backend = "mlx" if config.backend == "mlx" or _is_fast_in_mlx(config) else "numpy"
    if backend == "numpy":
        if config.decoder_device == "gpu":
            raise BackendError("decoder_backend = numpy has no GPU; use mlx")
        return NumpyDecoder(weights, config.quantization, fallback_to_float16=config.fallback_to_float16)
    return MlxDecoder(
        weights, config.decoder_device, config.quantization, fallback_to_float16=config.fallback_to_float16
    )


def _is_fast_in_mlx(config: AlignAttConfig) -> bool:
    """Accelerate, on Macs, multiplies single rows as fast as GPUs do."""
    return sys.platform == "darwin" or resolved_device(config.decoder_device) == "gpu"
