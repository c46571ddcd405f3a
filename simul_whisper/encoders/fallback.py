"""The encoder in use, and what takes its place: Core ML once it is ready, another encoder when Core ML fails."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from simul_whisper.coreml.runtime import wants_neural_engine
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.encoders.preparation import CoreMLUnavailableError, Preparation, Ready, probe
from simul_whisper.errors import EncoderError
from simul_whisper.mel import Mel
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent

logger = logging.getLogger(__name__)

_COREML = "coreml"
_POLL_S = 0.05


@dataclass(frozen=True)
class EncoderStatus:
    """Which encoder runs, and why.

    backend: mlx, ctranslate2 or coreml. requested: the setting, auto included. did_fallback: Core ML was asked for, or
    would have been taken, and another encoder runs; reason: why. ane_compiled: Core ML runs, compiled here for units
    that include the Neural Engine; which of them it uses is the system's choice.
    compute_units, package_digest: of the Core ML model that runs, else empty.
    """

    backend: str
    requested: str = "auto"
    did_fallback: bool = False
    reason: str = ""
    ane_compiled: bool = False
    compute_units: str = ""
    package_digest: str = ""


class _Job:
    """A preparation under way in its own thread."""

    def __init__(self, preparation: Preparation, progress: ProgressHandler) -> None:
        self.result: Ready | CoreMLUnavailableError | None = None
        self._cancelled = threading.Event()
        self._preparation, self._progress = preparation, progress
        # A download may take its time; compiling and loading may not.
        self._deadline = math.inf
        # Core ML cannot be interrupted while it loads, and must not keep the process alive.
        threading.Thread(target=self._run, name="coreml-preparation", daemon=True).start()

    def _run(self) -> None:
        try:
            found: Ready | CoreMLUnavailableError = self._preparation.run(self._report, self._cancelled)
        except CoreMLUnavailableError as error:
            found = error
        # Nobody else sees what ends this thread, and somebody may be waiting for it.
        except Exception as error:
            found = CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, f"{type(error).__name__}: {error}")
        if not self._cancelled.is_set():
            self.result = found

    def _report(self, progress: Progress) -> None:
        if progress.stage in (Stage.COMPILING_ANE, Stage.LOADING) and self._deadline == math.inf:
            self._deadline = time.monotonic() + self._preparation.timeout_s
        if not self._cancelled.is_set():
            self._progress(progress)

    def cancel(self, stage: Stage, reason: str) -> None:
        self._cancelled.set()
        self.result = CoreMLUnavailableError(stage, reason)

    def check_deadline(self) -> None:
        if self.result is None and time.monotonic() > self._deadline:
            reason = f"Core ML was not ready within {self._preparation.timeout_s:g} s, the compile_timeout"
            self.cancel(Stage.COMPILATION_FAILED, reason)


class FallbackEncoder:
    """An encoder like any other, that may change between two windows. One thread at a time may use it.

    status: of the encoder that `make_encoder` loads: it runs until Core ML is ready, and after Core ML has failed.
    preparation: of Core ML, where that may run.
    """

    def __init__(
        self,
        status: EncoderStatus,
        make_encoder: Callable[[], AudioEncoder],
        preparation: Preparation | None = None,
        progress: ProgressHandler = silent,
    ) -> None:
        self.status = status
        self._status_without = status
        self._make_encoder, self._preparation, self._progress = make_encoder, preparation, progress
        self._encoder: AudioEncoder | None = None
        self._coreml_runs = False
        self._job: _Job | None = None

    @property
    def description(self) -> str:
        return self._encoder.description if self._encoder else f"{self.status.backend} (not loaded yet)"

    def load(self) -> AudioEncoder:
        """Return the encoder in use, loaded if it was not."""
        if self._encoder is None:
            self._encoder = self._make_encoder()
        return self._encoder

    def encode(self, mel: Mel) -> Features:
        """As any encoder. A window on which Core ML fails is encoded by the encoder that takes its place."""
        self._take_over_if_ready()
        try:
            return self.load().encode(mel)
        except EncoderError as error:
            if self.status.backend != _COREML:
                raise
            self.fall_back(CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)))
            return self.load().encode(mel)

    def prepare(self) -> None:
        """Begin to get Core ML ready in the background; a later `encode` takes it over."""
        if self._preparation and not self._job and self.status.backend != _COREML:
            self._job = _Job(self._preparation, self._progress)

    def warm_up(self, n_mels: int, cancelled: threading.Event | None = None) -> Features:
        """Get Core ML ready, where it may run, and return the features of a first window.

        Comes back soon after `cancelled` is set; then, and when Core ML cannot be had, the other encoder is there.
        """
        cancelled = cancelled or threading.Event()
        self.prepare()
        try:
            while self._job and self._job.result is None:
                if cancelled.wait(_POLL_S):
                    self._job.cancel(Stage.COREML_UNAVAILABLE, "warm-up was cancelled")
                self._job.check_deadline()
        except BaseException:
            if self._job:
                self._job.cancel(Stage.COREML_UNAVAILABLE, "warm-up was interrupted")
            raise
        return self.encode(probe(n_mels))

    def fall_back(self, why: CoreMLUnavailableError) -> None:
        """Go on without Core ML, and say so, unless that was the state of things before."""
        before, self.status = self.status, replace(self._status_without, did_fallback=True, reason=str(why))
        if self.status == before:
            return
        if self._coreml_runs:
            self._encoder, self._coreml_runs = None, False
        logger.warning("Core ML does not run the encoder, %s does: %s", self.status.backend, why)
        self._progress(Progress(why.stage, str(why)))

    def _take_over_if_ready(self) -> None:
        if self._job:
            self._job.check_deadline()
        if self._job and self._job.result:
            found, self._job = self._job.result, None
            try:
                if isinstance(found, CoreMLUnavailableError):
                    raise found
                self._take_over(found)
            except CoreMLUnavailableError as why:
                self.fall_back(why)

    def _take_over(self, ready: Ready) -> None:
        """Use Core ML from now on, if its first answer is right. Raises CoreMLUnavailableError."""
        from simul_whisper.coreml.compilation import note_model

        preparation = self._preparation
        assert preparation is not None
        assert preparation.runtime is not None
        if not ready.is_known:
            preparation.check_agreement(ready, self.load().encode(probe(preparation.dims.n_mels)))
            note_model(ready.found, preparation.compute_units, preparation.runtime, ready.model)
        self._encoder, self._coreml_runs = ready.encoder, True
        self.status = replace(
            self._status_without,
            backend=_COREML,
            ane_compiled=wants_neural_engine(preparation.compute_units),
            compute_units=preparation.compute_units,
            package_digest=ready.found.digest,
        )
