"""Which decoder runs: the one asked for, or the fastest here."""

import importlib.util
import sys
from collections.abc import Callable

from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.preparation import current_weights, prepared
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.decoders import TextDecoder
from simul_whisper.decoders.fallback import FallbackDecoder, Probe, coreml_decoder
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.errors import BackendError
from simul_whisper.fallback import BackendStatus
from simul_whisper.parameters import resolved_device
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.weights.model import Weights


def choose_decoder(
    config: AlignAttConfig,
    weights: Weights,
    probe: Callable[[], Probe] | None = None,
    progress: ProgressHandler = silent,
    runtime: CoreMLRuntime | None = None,
) -> FallbackDecoder:
    """Return the decoder that the config asks for. Raises BackendError when it cannot run here.

    Core ML runs only when asked for. Where it cannot, that is reported and the one is taken that `auto` means here.
    probe: what Core ML is tried with. runtime: what runs Core ML; None where there is no Core ML.
    """
    requested = config.decoder_backend
    backend = _fastest_backend(config) if requested in ("auto", "coreml") else requested
    status = BackendStatus(backend, requested)
    if requested != "coreml":
        loaded = _decoder(backend, config, weights)
        decoder = FallbackDecoder(status, lambda: loaded)
        decoder.load()
        return decoder
    assert probe is not None
    current = current_weights(weights)
    kind = coreml_decoder(current, weights.dims, weights.alignment_heads, config.coreml_compute_units, probe)
    preparation = prepared(kind, config.coreml_decoder_path, config, weights.directory, runtime)
    decoder = FallbackDecoder(status, lambda: _decoder(backend, config, current()), preparation, progress)
    decoder.get_ready(waits=config.wait_for_compilation is not False, in_background=config.load_in_background)
    return decoder


def _fastest_backend(config: AlignAttConfig) -> str:
    is_mlx = config.backend in ("mlx", "hybrid") or _is_fast_in_mlx(config) or not _has_onnx()
    return "mlx" if is_mlx else "onnx"


def _decoder(backend: str, config: AlignAttConfig, weights: Weights) -> TextDecoder:
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
