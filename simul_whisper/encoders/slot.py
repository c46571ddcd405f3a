"""The encoder in use, and what takes its place: Core ML once it is ready, another encoder when Core ML fails."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from simul_whisper.coreml.runtime import wants_neural_engine
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.encoders.preparation import CoreMLUnavailableError, Preparation, Ready, check_agreement, probe
from simul_whisper.errors import EncoderError
from simul_whisper.mel import Mel
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent

_COREML = "coreml"
_POLL_S = 0.05


@dataclass(frozen=True)
class EncoderStatus:
    """Which encoder runs, and why.

    backend: mlx, ctranslate2 or coreml. requested: the setting, auto included. did_fallback: Core ML was asked for, or
    would have been taken, and another encoder runs; reason: why. ane_compiled: Core ML runs, compiled for this device.
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
        self.cancelled = threading.Event()
        self.result: Ready | CoreMLUnavailableError | None = None
        self._preparation, self._progress = preparation, progress
        # Core ML cannot be interrupted while it loads, and must not keep the process alive.
        threading.Thread(target=self._run, name="coreml-preparation", daemon=True).start()

    def _run(self) -> None:
        try:
            self.result = self._preparation.run(self._progress, self.cancelled)
        except CoreMLUnavailableError as error:
            self.result = error


class EncoderSlot:
    """An encoder like any other, that may change between two windows. One thread at a time may use it.

    status: of the encoder that `make_encoder` loads, when it is first needed: it runs until Core ML is ready, and after
    Core ML has failed. preparation: of Core ML, where that may run.
    """

    def __init__(
        self,
        status: EncoderStatus,
        make_encoder: Callable[[], AudioEncoder],
        preparation: Preparation | None = None,
        progress: ProgressHandler = silent,
    ) -> None:
        self.status = status
        self._without = status
        self._make_encoder, self._preparation, self._progress = make_encoder, preparation, progress
        self._encoder: AudioEncoder | None = None
        self._job: _Job | None = None

    @property
    def description(self) -> str:
        return self._current().description

    def encode(self, mel: Mel) -> Features:
        """As any encoder. A window on which Core ML fails is encoded by the encoder that takes its place."""
        self._take_over_if_ready()
        try:
            return self._current().encode(mel)
        except EncoderError as error:
            if self.status.backend != _COREML:
                raise
            self.fall_back(CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)))
            return self._current().encode(mel)

    def prepare(self) -> None:
        """Begin to get Core ML ready in the background; a later `encode` takes it over."""
        if self._preparation and not self._job and self.status.backend != _COREML:
            self._job = _Job(self._preparation, self._progress)

    def warm_up(self, n_mels: int, cancelled: threading.Event | None = None) -> Features:
        """Get Core ML ready, where it may run, and return the features of a first window.

        Comes back soon after `cancelled` is set; then, and when Core ML cannot be had, the other encoder is there.
        """
        self.prepare()
        while self._job and self._job.result is None:
            if (cancelled or threading.Event()).wait(_POLL_S):
                self._job.cancelled.set()
                self._job = None
                self.fall_back(CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, "warm-up was cancelled"))
        return self.encode(probe(n_mels))

    def fall_back(self, why: CoreMLUnavailableError) -> None:
        """Go on without Core ML, and say so."""
        self.status = replace(self._without, did_fallback=True, reason=str(why))
        self._encoder = None
        self._progress(Progress(why.stage, str(why)))

    def _take_over_if_ready(self) -> None:
        if self._job and self._job.result:
            found, self._job = self._job.result, None
            try:
                if isinstance(found, CoreMLUnavailableError):
                    raise found
                self._take_over(found)
            except CoreMLUnavailableError as error:
                self.fall_back(error)

    def _take_over(self, ready: Ready) -> None:
        """Use Core ML from now on, if its first answer is right. Raises CoreMLUnavailableError."""
        from simul_whisper.coreml.compilation import note_compiled

        assert self._preparation is not None
        if not ready.is_known:
            check_agreement(ready.features, self._current().encode(probe(self._preparation.dims.n_mels)))
            note_compiled(ready.description, self._preparation.compute_units)
        self._encoder = ready.encoder
        self.status = replace(
            self._without,
            backend=_COREML,
            ane_compiled=wants_neural_engine(self._preparation.compute_units),
            compute_units=self._preparation.compute_units,
            package_digest=ready.description.digest,
        )

    def _current(self) -> AudioEncoder:
        if self._encoder is None:
            self._encoder = self._make_encoder()
        return self._encoder
