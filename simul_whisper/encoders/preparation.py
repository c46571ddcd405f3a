"""Everything that happens before Core ML encodes its first window: find or fetch, compile, load, try.

It runs on any thread and touches no MLX. What goes wrong is a CoreMLUnavailableError, which says what to report.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from simul_whisper.audio import SAMPLE_RATE
from simul_whisper.coreml.conversion import Precision
from simul_whisper.coreml.locate import fetched_package, is_on_hub, local_packages, package_at
from simul_whisper.coreml.parity import LEAST_DB, parity
from simul_whisper.coreml.runtime import CoreMLModel, CoreMLRuntime, open_model, require_units, wants_neural_engine
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.errors import EncoderNotLoadedError, NeuralEngineNotAvailableError, SimulWhisperError
from simul_whisper.mel import Mel, log_mel
from simul_whisper.progress import Progress, ProgressHandler, Stage
from simul_whisper.weights.model import Dims, Weights

if TYPE_CHECKING:
    from simul_whisper.coreml.description import Description

_NO_PACKAGE = "Model not available"
_PROBE_S = 4
# A package that does not say what it was made from must agree better than nonsense does: an encoder that somebody has
# trained further is 20 to 40 dB away from its origin.
_LEAST_DB_OF_UNKNOWN_ORIGIN = 40.0


class CoreMLUnavailableError(SimulWhisperError):
    """Core ML will not run. stage: what to report; the text is the reason."""

    def __init__(self, stage: Stage, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


@dataclass(frozen=True)
class Ready:
    """A Core ML encoder that has encoded `probe`.

    model: what was opened. is_known: its answer was found right before, on this device.
    """

    encoder: AudioEncoder
    found: "Description"
    model: Path
    features: Features
    is_known: bool


@dataclass(frozen=True)
class Preparation:
    """What to prepare, and where.

    model: as the user calls it; names: all names it goes by. path: of the package; None where it must be looked up.
    directory: of the weights. weights: returns those that the decoder belongs to.
    """

    model: str
    names: tuple[str, ...]
    path: str | None
    directory: Path
    dims: Dims
    weights: Callable[[], Weights]
    compute_units: str
    timeout_s: float
    runtime: CoreMLRuntime | None
    _digests: dict[Precision, str] = field(default_factory=dict)

    def run(self, progress: ProgressHandler, cancelled: Event) -> Ready:
        """Return the encoder, after its first inference. Raises CoreMLUnavailableError."""
        from simul_whisper.coreml.compilation import noted_model

        runtime = self._runtime()
        found = self._find() or self._described([self._fetched(progress)])
        assert found is not None
        model = noted_model(found, self.compute_units, runtime)
        is_known = model is not None
        try:
            model = model or self._compiled(runtime, found, progress, cancelled)
            progress(Progress(Stage.LOADING, found.path.name))
            opened = open_model(runtime, model, self.compute_units)
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.COMPILATION_FAILED, str(error)) from error
        encoder, features = self._tried(opened, found)
        return Ready(encoder, found, model, features, is_known)

    def check_possible(self) -> None:
        """Raise CoreMLUnavailableError where waiting cannot help: without Core ML, or without any package to be had."""
        self._runtime()
        if self._find() is None and not is_on_hub(self.model):
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, _NO_PACKAGE)

    def needs_no_wait(self) -> bool:
        """Whether the package that is here need not be compiled. Raises CoreMLUnavailableError when it cannot run."""
        from simul_whisper.coreml.compilation import noted_model

        runtime, found = self._runtime(), self._find()
        if found is None:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, _NO_PACKAGE)
        return not wants_neural_engine(self.compute_units) or bool(noted_model(found, self.compute_units, runtime))

    def check_agreement(self, ready: Ready, reference: Features) -> None:
        """Raise CoreMLUnavailableError unless the package's answer is nearly that of another encoder."""
        psnr_db = parity(ready.features, reference).psnr_db
        least_db = LEAST_DB if _ORIGIN in ready.found.metadata else _LEAST_DB_OF_UNKNOWN_ORIGIN
        if psnr_db < least_db:
            raise CoreMLUnavailableError(
                Stage.COREML_UNAVAILABLE,
                f"Core ML's output differs from the reference: got {psnr_db:.1f} dB, expected at least {least_db:g} dB",
            )

    def _runtime(self) -> CoreMLRuntime:
        try:
            runtime = require_units(self.runtime, self.compute_units)
        except NeuralEngineNotAvailableError as error:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)) from error
        if importlib.util.find_spec("coremltools") is None:
            raise CoreMLUnavailableError(
                Stage.COREML_UNAVAILABLE, "coremltools is not installed; pip install 'simul-whisper[coreml]'"
            )
        return runtime

    def _find(self) -> "Description | None":
        """Return what the package here says of itself; None when there is none."""
        try:
            candidates = [package_at(self.path)] if self.path else local_packages(self.names, self.directory)
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)) from error
        return self._described(candidates)

    def _described(self, candidates: list[Path]) -> "Description | None":
        """Return the description of the first one that can be read and belongs to the model."""
        from simul_whisper.coreml.description import describe
        from simul_whisper.encoders.coreml import input_and_output

        failure: CoreMLUnavailableError | None = None
        for candidate in candidates:
            try:
                found = describe(candidate)
                input_and_output(found, self.dims)
                self._check_origin(found)
                return found
            except (SimulWhisperError, OSError) as error:
                failure = failure or CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error))
        if failure:
            raise failure
        return None

    def _fetched(self, progress: ProgressHandler) -> Path:
        try:
            found = fetched_package(self.model, progress) if is_on_hub(self.model) else None
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.DOWNLOAD_FAILED, str(error)) from error
        if found is None:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, _NO_PACKAGE)
        return found

    def _check_origin(self, found: "Description") -> None:
        """Raise EncoderNotLoadedError for a package that says it was made from other weights, as ours do."""
        from simul_whisper.coreml.package import encoder_digest

        if (said := found.metadata.get(_ORIGIN)) is None:
            return
        precision: Precision = "float32" if found.metadata.get("precision") == "float32" else "float16"
        if precision not in self._digests:
            self._digests[precision] = encoder_digest(self.weights(), precision)
        if said != self._digests[precision]:
            raise EncoderNotLoadedError(f"{found.path}: made from other weights than those of {self.model}")

    def _compiled(
        self, runtime: CoreMLRuntime, found: "Description", progress: ProgressHandler, cancelled: Event
    ) -> Path:
        from simul_whisper.coreml.compilation import compile_in_child

        if not wants_neural_engine(self.compute_units):
            return found.path
        progress(Progress(Stage.COMPILING_ANE, found.path.name))
        return compile_in_child(runtime, found, self.compute_units, cancelled)

    def _tried(self, opened: CoreMLModel, found: "Description") -> tuple[AudioEncoder, Features]:
        from simul_whisper.encoders.coreml import CoreMLEncoder

        try:
            encoder = CoreMLEncoder(opened, found, self.dims, self.compute_units)
            return encoder, encoder.encode(probe(self.dims.n_mels))
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)) from error


_ORIGIN = "encoder_sha256"


@cache
def probe(n_mels: int) -> Mel:
    """Return the spectrogram of seconds that sound a little like a voice, in a window of 30 s: what is tried first."""
    seconds = np.arange(_PROBE_S * SAMPLE_RATE) / SAMPLE_RATE
    pitch = 140 + 30 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.sin(n * phase) / n for n in range(1, 20)) * np.abs(np.sin(2 * np.pi * 2 * seconds))
    return log_mel((0.1 * voice).astype(np.float32), n_mels)
