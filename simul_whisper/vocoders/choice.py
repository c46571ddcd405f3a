"""Which vocoder runs: the one asked for, or the fastest here; and what was chosen."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from simul_whisper.blas import mx
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.preparation import Preparation
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.errors import BackendError
from simul_whisper.fallback import BackendStatus
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.vocoders import AudioVocoder
from simul_whisper.vocoders.fallback import FallbackVocoder, Samples, coreml_vocoder
from simul_whisper.vocoders.hifigan import HifiGan
from simul_whisper.voices.config import SpeechConfig

if TYPE_CHECKING:
    from simul_whisper.vocoders.voice_file import SplitVoice


def choose_vocoder(
    config: SpeechConfig,
    path: Path,
    voice: "SplitVoice",
    progress: ProgressHandler = silent,
    runtime: CoreMLRuntime | None = None,
) -> FallbackVocoder:
    """Return the vocoder of a voice that the config asks for. Raises BackendError when it cannot run here.

    path: of the voice's file. runtime: what runs Core ML; None where there is no Core ML. Core ML that cannot run is
    reported and another one is taken, as it is where `auto` would have preferred Core ML.
    """
    requested = config.vocoder_backend
    may_use_coreml = requested == "coreml" or (requested == "auto" and runtime is not None)
    backend = _fastest_backend() if requested in ("auto", "coreml") else requested
    # The front of the voice is many times as large, and not needed.
    vocoder, model, status = voice.vocoder, voice.reference, BackendStatus(backend, requested)
    if not may_use_coreml:
        loaded = _vocoder(backend, vocoder, model)
        changing = FallbackVocoder(vocoder.rate, status, lambda: loaded, progress=progress)
        changing.load()
        return changing
    preparation = _prepared(vocoder, config, path, runtime)
    changing = FallbackVocoder(vocoder.rate, status, lambda: _vocoder(backend, vocoder, model), preparation, progress)
    changing.get_ready(waits=requested == "coreml", in_background=False)
    return changing


def _prepared(
    vocoder: HifiGan, config: SpeechConfig, path: Path, runtime: CoreMLRuntime | None
) -> Preparation[AudioVocoder, Samples]:
    """Return the preparation that the config asks for. Nobody publishes vocoders, so nothing is downloaded."""
    package, defaults = config.coreml_vocoder_path, AlignAttConfig()
    return Preparation(
        coreml_vocoder(vocoder, config.coreml_compute_units),
        model=path.stem,
        names=(path.stem,),
        # A program may change its working directory before the package is opened.
        path=str(Path(package).expanduser().absolute()) if package else None,
        directory=path.resolve().parent,
        compute_units=config.coreml_compute_units,
        timeout_s=defaults.compile_timeout,
        download="never",
        hub_timeout_s=defaults.download_timeout,
        runtime=runtime,
    )


def _vocoder(backend: str, vocoder: HifiGan, model: bytes) -> AudioVocoder:
    if backend == "mlx":
        from simul_whisper.vocoders.mlx import MlxVocoder

        return MlxVocoder(vocoder)
    try:
        from simul_whisper.vocoders.onnx import OnnxVocoder
    except ImportError as error:
        raise BackendError(
            f"onnxruntime cannot be used: {error}; pip install 'simul-whisper[voice]', or use vocoder_backend = mlx"
        ) from error
    return OnnxVocoder(vocoder, model)


def _fastest_backend() -> str:
    """MLX on a GPU; elsewhere ONNX Runtime, which takes half to two thirds of the time."""
    return "mlx" if mx.is_available(mx.gpu) or importlib.util.find_spec("onnxruntime") is None else "onnx"
