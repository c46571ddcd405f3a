"""Everything that happens before Core ML encodes its first window: find or fetch, compile, load, try.

It runs on any thread and touches no MLX. What goes wrong is a CoreMLUnavailableError, which says what to report.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from simul_whisper.audio import SAMPLE_RATE
from simul_whisper.coreml.conversion import Precision
from simul_whisper.coreml.locate import fetched_package, is_on_hub, local_package
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.runtime import CoreMLModel, CoreMLRuntime, require_units, wants_neural_engine
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.errors import NeuralEngineNotAvailableError, SimulWhisperError
from simul_whisper.mel import Mel, log_mel
from simul_whisper.progress import Progress, ProgressHandler, Stage
from simul_whisper.weights.model import Dims, Weights

if TYPE_CHECKING:
    from simul_whisper.coreml.description import Description

_PROBE_S = 4
_LEAST_PSNR_DB = 20.0


class CoreMLUnavailableError(SimulWhisperError):
    """Core ML will not run. stage: what to report; the text is the reason."""

    def __init__(self, stage: Stage, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


@dataclass(frozen=True)
class Ready:
    """A Core ML encoder that has encoded a first window.

    is_known: it was compared with another encoder before, on this device.
    """

    encoder: AudioEncoder
    description: "Description"
    features: Features
    is_known: bool


@dataclass(frozen=True)
class Preparation:
    """What to prepare, and where. weights: loads those that the decoder belongs to; path: of the package, or empty."""

    model: str
    path: str
    dims: Dims
    weights: Callable[[], Weights]
    compute_units: str
    timeout_s: float
    runtime: CoreMLRuntime | None

    def find(self, progress: ProgressHandler) -> "Description":
        """Return what the package says of itself. Raises CoreMLUnavailableError."""
        try:
            require_units(self.runtime, self.compute_units)
        except NeuralEngineNotAvailableError as error:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)) from error
        if importlib.util.find_spec("coremltools") is None:
            raise CoreMLUnavailableError(
                Stage.COREML_UNAVAILABLE, "coremltools is not installed; pip install 'simul-whisper[coreml]'"
            )
        from simul_whisper.coreml.description import describe

        try:
            path = local_package(self.model, self.path)
            found = describe(path or self._fetched(progress))
        except CoreMLUnavailableError:
            raise
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)) from error
        self._check_digest(found)
        return found

    def run(self, progress: ProgressHandler, cancelled: Event) -> Ready:
        """Return the encoder, after its first inference. Raises CoreMLUnavailableError."""
        from simul_whisper.coreml.compilation import is_compiled
        from simul_whisper.encoders.coreml import CoreMLEncoder

        found = self.find(progress)
        is_known = is_compiled(found, self.compute_units)
        model = self._opened(found, progress, cancelled, is_known=is_known)
        try:
            encoder = CoreMLEncoder(model, found, self.dims, self.compute_units)
            features = encoder.encode(probe(self.dims.n_mels))
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)) from error
        return Ready(encoder, found, features, is_known)

    def is_compiled(self, progress: ProgressHandler) -> bool:
        """Whether `run` would not have to compile. Raises CoreMLUnavailableError as `find` does."""
        found = self.find(progress)
        from simul_whisper.coreml.compilation import is_compiled

        return is_compiled(found, self.compute_units)

    def _opened(
        self, found: "Description", progress: ProgressHandler, cancelled: Event, *, is_known: bool
    ) -> CoreMLModel:
        from simul_whisper.coreml.compilation import compile_in_child

        runtime = require_units(self.runtime, self.compute_units)
        try:
            if wants_neural_engine(self.compute_units) and not is_known:
                progress(Progress(Stage.COMPILING_ANE, found.path.name))
                compile_in_child(runtime, found.path, self.compute_units, self.timeout_s, cancelled)
            progress(Progress(Stage.LOADING, found.path.name))
            return runtime.open(found.path, self.compute_units)
        # A runtime raises what it likes; whatever it was, another encoder goes on.
        except Exception as error:
            raise CoreMLUnavailableError(Stage.COMPILATION_FAILED, f"{error}") from error

    def _fetched(self, progress: ProgressHandler) -> Path:
        try:
            found = fetched_package(self.model, progress) if is_on_hub(self.model) else None
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.DOWNLOAD_FAILED, str(error)) from error
        if found is None:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, "Model not available")
        return found

    def _check_digest(self, found: "Description") -> None:
        """Packages of ours say which weights they were made from."""
        from simul_whisper.coreml.package import encoder_digest

        said = found.metadata.get("encoder_sha256")
        precision: Precision = "float32" if found.metadata.get("precision") == "float32" else "float16"
        if said is not None and said != encoder_digest(self.weights(), precision):
            raise CoreMLUnavailableError(
                Stage.COREML_UNAVAILABLE, f"{found.path}: made from other weights than those of {self.model}"
            )


def check_agreement(features: Features, reference: Features) -> None:
    """Raise CoreMLUnavailableError unless two encoders say nearly the same of `probe`."""
    found = parity(features, reference)
    if found.psnr_db < _LEAST_PSNR_DB:
        raise CoreMLUnavailableError(
            Stage.COREML_UNAVAILABLE,
            f"Core ML's answer differs from the reference: got {found.psnr_db:.1f} dB, expected {_LEAST_PSNR_DB:g}",
        )


@cache
def probe(n_mels: int) -> Mel:
    """Return the spectrogram of seconds that sound a little like a voice, which a first inference is tried with."""
    seconds = np.arange(_PROBE_S * SAMPLE_RATE) / SAMPLE_RATE
    pitch = 140 + 30 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.sin(n * phase) / n for n in range(1, 20)) * np.abs(np.sin(2 * np.pi * 2 * seconds))
    return log_mel((0.1 * voice).astype(np.float32), n_mels, SAMPLE_RATE)
