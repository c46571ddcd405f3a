"""Which decoder runs: the one asked for, or the fastest here."""

import importlib.util
import sys
from typing import TYPE_CHECKING

from simul_whisper.config import AlignAttConfig
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.errors import BackendError
from simul_whisper.parameters import resolved_device
from simul_whisper.weights.model import Weights

if TYPE_CHECKING:
    from simul_whisper.decoders.onnx import OnnxDecoder


def choose_decoder(config: AlignAttConfig, weights: Weights) -> "MlxDecoder | OnnxDecoder":
    """Return the decoder that the config asks for. Raises BackendError when it cannot run here."""
    backend = config.decoder_backend
    if backend == "auto":
        is_mlx = config.backend == "mlx" or _is_fast_in_mlx(config) or not _has_onnx()
        backend = "mlx" if is_mlx else "onnx"
    if backend == "onnx":
        if config.decoder_device == "gpu":
            raise BackendError(
                "decoder_backend = onnx runs only on the CPU, and decoder_device is gpu; use decoder_backend = mlx"
            )
        try:
            from simul_whisper.decoders.onnx import OnnxDecoder
        except ImportError as error:
            raise BackendError(
                f"onnxruntime cannot be used: {error}; pip install 'simul-whisper[cpu]', or use decoder_backend = mlx"
            ) from error

        return OnnxDecoder(weights, _quantization(config, backend))
    return MlxDecoder(
        weights, config.decoder_device, _quantization(config, backend), fallback_to_float16=config.fallback_to_float16
    )


def _quantization(config: AlignAttConfig, backend: str) -> str:
    """Return the quantization, with `fastest` resolved.

    A step on a GPU takes as long as its weights come from memory. Four bits are no faster in ONNX, and cost words: of
    264 in English clips `base` has 19 wrong with int8 in ONNX, and 23 with int4.
    """
    if config.quantization != "fastest":
        return config.quantization
    return "int8" if backend == "mlx" and resolved_device(config.decoder_device) == "gpu" else "auto"


def _is_fast_in_mlx(config: AlignAttConfig) -> bool:
    """Accelerate, on Macs, multiplies single rows as fast as GPUs do."""
    return sys.platform == "darwin" or resolved_device(config.decoder_device) == "gpu"


def _has_onnx() -> bool:
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
