"""Streaming speech recognition and translation with Whisper and the AlignAtt policy: the public names."""

# First, because it keeps NumPy's products to one thread.
from simul_whisper.blas import release_thread  # isort: split

from simul_whisper.alignatt import StopReason
from simul_whisper.audio import SAMPLE_RATE, as_samples
from simul_whisper.config import PRESETS, AlignAttConfig, LastWord, SimulWhisperConfig, read_toml
from simul_whisper.errors import (
    AudioFormatError,
    BackendError,
    ConfigError,
    CoreMLInferenceError,
    EncoderError,
    EncoderNotLoadedError,
    ModelError,
    ModelNotFoundError,
    NeuralEngineNotAvailableError,
    ShapeConversionError,
    SimulWhisperError,
    WeightsError,
)
from simul_whisper.model import Model, ModelInfo, load_model
from simul_whisper.progress import Progress, ProgressHandler, Stage
from simul_whisper.timing import Timing
from simul_whisper.transcript import EncoderChange, Update, Word
from simul_whisper.weights import ModelEntry, list_models
from simul_whisper.whisper import PaddedAlignAttWhisper

__all__ = [
    "PRESETS",
    "SAMPLE_RATE",
    "AlignAttConfig",
    "AudioFormatError",
    "BackendError",
    "ConfigError",
    "CoreMLInferenceError",
    "EncoderChange",
    "EncoderError",
    "EncoderNotLoadedError",
    "LastWord",
    "Model",
    "ModelEntry",
    "ModelError",
    "ModelInfo",
    "ModelNotFoundError",
    "NeuralEngineNotAvailableError",
    "PaddedAlignAttWhisper",
    "Progress",
    "ProgressHandler",
    "ShapeConversionError",
    "SimulWhisperConfig",
    "SimulWhisperError",
    "Stage",
    "StopReason",
    "Timing",
    "Update",
    "WeightsError",
    "Word",
    "as_samples",
    "list_models",
    "load_model",
    "read_toml",
    "release_thread",
]
