"""A part of the model that may change: Core ML takes its place once it is ready, and another one when Core ML fails."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Generic

from simul_whisper.coreml.preparation import Answer, Component, CoreMLUnavailableError, Preparation, Ready
from simul_whisper.coreml.runtime import wants_neural_engine
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent

logger = logging.getLogger(__name__)

_COREML = "coreml"
_POLL_S = 0.05


@dataclass(frozen=True)
class BackendStatus:
    """What runs the encoder, the decoder or the vocoder, and why.

    backend: mlx, ctranslate2, onnx or coreml. requested: the setting, auto included. did_fallback: Core ML was asked
    for, or would have been taken, and something else runs; reason: why. ane_compiled: Core ML runs, compiled here for
    units that include the Neural Engine; which of them it uses is the system's choice.
    compute_units, package_digest: of the Core ML model that runs, else empty.
    """

    backend: str
    requested: str = "auto"
    did_fallback: bool = False
    reason: str = ""
    ane_compiled: bool = False
    compute_units: str = ""
    package_digest: str = ""


class _Job(Generic[Component, Answer]):
    """A preparation under way in its own thread. first_answer: what is tried, in either backend."""

    def __init__(
        self,
        preparation: Preparation[Component, Answer],
        first_answer: Callable[[Component], Answer],
        progress: ProgressHandler,
    ) -> None:
        self.result: Ready[Component, Answer] | CoreMLUnavailableError | None = None
        self.first_answer = first_answer
        self._cancelled = threading.Event()
        self._preparation, self._progress = preparation, progress
        # A download may take its time; compiling and loading may not.
        self._deadline = math.inf
        # Core ML cannot be interrupted while it loads, and must not keep the process alive.
        threading.Thread(target=self._run, name="coreml-preparation", daemon=True).start()

    def _run(self) -> None:
        try:
            found: Ready[Component, Answer] | CoreMLUnavailableError = self._preparation.run(
                self.first_answer, self._report, self._cancelled
            )
        except CoreMLUnavailableError as error:
            found = error
        # Nobody else sees what ends this thread, and somebody may be waiting for it.
        except Exception as error:
            found = CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, f"{type(error).__name__}: {error}")
        if isinstance(found, CoreMLUnavailableError):
            _forget_frames(found)
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


class ChangingPart(Generic[Component, Answer]):
    """What encoder, decoder and vocoder have in common: which is in use. One thread at a time may use it.

    name: what people call it. status: of what `make` loads: it runs until Core ML is ready, and after Core ML has
    failed. preparation: of Core ML, where that may run.
    """

    name: ClassVar[str]

    def __init__(
        self,
        status: BackendStatus,
        make: Callable[[], Component],
        preparation: Preparation[Component, Answer] | None = None,
        progress: ProgressHandler = silent,
    ) -> None:
        self.status = self._status_without = status
        self._make, self._preparation = make, preparation
        self._progress = _naming(self.name, progress)
        self._component: Component | None = None
        self._job: _Job[Component, Answer] | None = None

    @property
    def description(self) -> str:
        """What runs where, for people: "ctranslate2 (int8, cpu)"."""
        if self._component is None:
            return f"{self.status.backend} (not loaded yet)"
        return getattr(self._component, "description", type(self._component).__name__)

    @property
    def is_coreml(self) -> bool:
        """Whether Core ML runs it."""
        return self.status.backend == _COREML

    def load(self) -> Component:
        """Return the component in use, loaded if it was not."""
        if self._component is None:
            self._component = self._make()
        return self._component

    def get_ready(self, *, waits: bool, in_background: bool) -> None:
        """Load something: Core ML where it is compiled, or one `waits` for that; or, in the background, later."""
        assert self._preparation is not None
        try:
            self._preparation.check_possible()
            if not (waits or in_background):
                self._preparation.check_compiled()
        except CoreMLUnavailableError as why:
            self.fall_back(why)
        else:
            self._prepare() if in_background else self.warm_up()
        self.load()

    def warm_up(self, cancelled: threading.Event | None = None) -> None:
        """Get Core ML ready, where it may run.

        Comes back soon after `cancelled` is set; then, and when Core ML cannot be had, the other one is in use.
        """
        self._prepare()
        cancelled = cancelled or threading.Event()
        try:
            while self._job and self._job.result is None:
                if cancelled.wait(_POLL_S):
                    self._job.cancel(Stage.COREML_UNAVAILABLE, "warm-up was cancelled")
                self._job.check_deadline()
        except BaseException:
            if self._job:
                self._job.cancel(Stage.COREML_UNAVAILABLE, "warm-up was interrupted")
            raise
        self.take_over_if_ready()

    @property
    def ready(self) -> Component | None:
        """What Core ML would run if it took over now; None as long as it is not ready."""
        return self._job.result.component if self._job and isinstance(self._job.result, Ready) else None

    def take_over_if_ready(self) -> None:
        """Use Core ML from now on if it has got ready, and its first answer is right."""
        if self._job:
            self._job.check_deadline()
        if self._job and self._job.result:
            job, self._job = self._job, None
            try:
                if isinstance(job.result, CoreMLUnavailableError):
                    raise job.result
                assert job.result is not None
                self._take_over(job.result, job.first_answer)
            except CoreMLUnavailableError as why:
                self.fall_back(why)

    def fall_back(self, why: CoreMLUnavailableError) -> None:
        """Go on without Core ML, and say so, unless that was the state of things before."""
        _forget_frames(why)
        before, self.status = self.status, replace(self._status_without, did_fallback=True, reason=str(why))
        if self.status == before:
            return
        if before.backend == _COREML:
            self._component = None
        logger.warning("Core ML does not run the %s, %s does: %s", self.name, self.status.backend, why)
        self._progress(why.report)

    def _prepare(self) -> None:
        """Begin to get Core ML ready in the background; `take_over_if_ready` ends that."""
        if self._preparation and not self._job and not self.is_coreml:
            self._job = _Job(self._preparation, self._preparation.kind.trial(), self._progress)

    def _take_over(self, ready: Ready[Component, Answer], first_answer: Callable[[Component], Answer]) -> None:
        """Use Core ML from now on, if its first answer is right. Raises CoreMLUnavailableError."""
        preparation = self._preparation
        assert preparation is not None
        if not ready.is_known:
            preparation.accept(ready, first_answer(self.load()))
        self._component = ready.component
        self.status = replace(
            self._status_without,
            backend=_COREML,
            ane_compiled=wants_neural_engine(preparation.compute_units),
            compute_units=preparation.compute_units,
            package_digest=ready.packages[0].digest,
        )


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the functions held that an error went through, such as all weights; people may keep errors."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _naming(part: str, progress: ProgressHandler) -> ProgressHandler:
    """Return a handler that says which part of the model it is."""

    def handler(reported: Progress) -> None:
        progress(replace(reported, part=part))

    return handler
