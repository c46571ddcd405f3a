"""Everything that happens before Core ML does its first work: find or fetch, compile, load, try.

It runs on any thread and touches no MLX. What goes wrong is a CoreMLUnavailableError, which says what to report.
"""

import importlib.util
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Generic, TypeVar

from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.conversion import Precision
from simul_whisper.coreml.locate import (
    PartName,
    downloaded_package,
    fetched_package,
    is_on_hub,
    local_packages,
    package_at,
)
from simul_whisper.coreml.runtime import CoreMLRuntime, require_units, wants_neural_engine
from simul_whisper.errors import ModelError, NeuralEngineNotAvailableError, SimulWhisperError
from simul_whisper.progress import Progress, ProgressHandler, Stage
from simul_whisper.weights.directory import load_directory
from simul_whisper.weights.model import Weights

if TYPE_CHECKING:
    from simul_whisper.coreml.description import Description

Component = TypeVar("Component")
Answer = TypeVar("Answer")

_NO_PACKAGE = "Model not available"


class CoreMLUnavailableError(SimulWhisperError):
    """Core ML will not run. stage: what to report; the text is the reason."""

    def __init__(self, stage: Stage, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage

    @property
    def report(self) -> Progress:
        """What to tell those who follow the progress."""
        cause = self.__cause__
        return Progress(self.stage, str(self), error=cause if isinstance(cause, SimulWhisperError) else None)


@dataclass(frozen=True)
class Kind(Generic[Component, Answer]):
    """What is particular to the encoder, the decoder or the vocoder. All functions may raise SimulWhisperError.

    packages: of a package that was found, all that belong to it, itself first; refuses one of another model's shape.
    open: what runs them, from the models that were made of them. digest: of what the weights in use compute, as
    packages of ours say it of themselves. trial: what gives the first answer, on any thread; asked for by the thread
    that uses the model. agreement_db: how well two first answers agree; least_db: how well they must, and
    least_unknown_db: how well where the package does not say what it was made from.
    """

    part: PartName
    packages: Callable[["Description"], tuple["Description", ...]]
    open: Callable[[CoreMLRuntime, Path, "Description"], Component]
    digest: Callable[[Precision], str]
    trial: Callable[[], Callable[[Component], Answer]]
    agreement_db: Callable[[Answer, Answer], float]
    least_db: float
    least_unknown_db: float

    @property
    def origin(self) -> str:
        """The name of the digest in a package's metadata."""
        return f"{self.part}_sha256"


@dataclass(frozen=True)
class Ready(Generic[Component, Answer]):
    """A part of the model in Core ML that has given its first answer.

    packages: as of `Kind`. model: what was opened. is_known: its answer was found right before, on this device.
    """

    component: Component
    packages: tuple["Description", ...]
    model: Path
    answer: Answer
    is_known: bool


@dataclass(frozen=True)
class Preparation(Generic[Component, Answer]):
    """What to prepare, and where.

    model: as the user calls it; names: all names it goes by. path: of the package; None where it must be looked up.
    directory: of the weights. download: as of `coreml_download`; hub_timeout_s: how long the hub may take to answer.
    """

    kind: Kind[Component, Answer]
    model: str
    names: tuple[str, ...]
    path: str | None
    directory: Path
    compute_units: str
    timeout_s: float
    download: str
    hub_timeout_s: float
    runtime: CoreMLRuntime | None
    _digests: dict[Precision, str] = field(default_factory=dict)

    def run(
        self, first_answer: Callable[[Component], Answer], progress: ProgressHandler, cancelled: Event
    ) -> Ready[Component, Answer]:
        """Return what runs in Core ML, after its first answer. Raises CoreMLUnavailableError."""
        from simul_whisper.coreml.compilation import noted_model

        runtime = self._runtime()
        packages = self._find() or self._described([self._fetched(progress)])
        assert packages is not None
        model = noted_model(packages, self.compute_units, runtime)
        is_known = model is not None
        try:
            model = model or self._compiled(runtime, packages, progress, cancelled)
            progress(Progress(Stage.LOADING, packages[0].path.name))
            component = self.kind.open(runtime, model, packages[0])
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.COMPILATION_FAILED, str(error)) from error
        try:
            return Ready(component, packages, model, first_answer(component), is_known)
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)) from error

    def check_possible(self) -> None:
        """Raise CoreMLUnavailableError where waiting cannot help: without Core ML, or without any package to be had."""
        self._runtime()
        if self._find() is None and not self._may_fetch:
            is_forbidden = is_on_hub(self.model, self.kind.part) and self.download == "never"
            why = " here, and coreml_download is never" if is_forbidden else ""
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, _NO_PACKAGE + why)

    def check_compiled(self) -> None:
        """Raise CoreMLUnavailableError unless a package is here that need not be compiled, or is always downloaded."""
        from simul_whisper.coreml.compilation import noted_model

        runtime, packages = self._runtime(), self._find()
        if packages is None:
            if self.download == "always" and self._may_fetch:
                return
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, _NO_PACKAGE)
        if wants_neural_engine(self.compute_units) and not noted_model(packages, self.compute_units, runtime):
            raise CoreMLUnavailableError(
                Stage.COREML_UNAVAILABLE,
                f"the Core ML {self.kind.part} is not compiled for this device yet; call warmup(), or set "
                "wait_for_compilation",
            )

    def accept(self, ready: Ready[Component, Answer], reference: Answer) -> None:
        """Remember that a package's answer is right: nearly `reference`. Raises CoreMLUnavailableError if it is not."""
        from simul_whisper.coreml.compilation import note_model

        found_db = self.kind.agreement_db(ready.answer, reference)
        says_origin = self.kind.origin in ready.packages[0].metadata
        least_db = self.kind.least_db if says_origin else self.kind.least_unknown_db
        if found_db < least_db:
            raise CoreMLUnavailableError(
                Stage.COREML_UNAVAILABLE,
                f"Core ML's output differs from the reference: got {found_db:.1f} dB, expected at least {least_db:g}",
            )
        assert self.runtime is not None
        note_model(ready.packages, self.compute_units, self.runtime, ready.model)

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

    def _find(self) -> "tuple[Description, ...] | None":
        """Return what the packages here say of themselves; None when there are none."""
        try:
            candidates = [package_at(self.path)] if self.path else self._candidates()
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)) from error
        return self._described(candidates)

    def _candidates(self) -> list[Path]:
        """Return what may be the model's here, and last what was downloaded for it before."""
        found = local_packages(self.names, self.directory, self.kind.part)
        downloaded = (
            downloaded_package(self.model, part=self.kind.part) if is_on_hub(self.model, self.kind.part) else None
        )
        return [*found, downloaded] if downloaded else found

    @property
    def _may_fetch(self) -> bool:
        return self.download != "never" and is_on_hub(self.model, self.kind.part)

    def _described(self, candidates: list[Path]) -> "tuple[Description, ...] | None":
        """Return the descriptions of the first one that can be read and belongs to the model."""
        from simul_whisper.coreml.description import describe

        failure: CoreMLUnavailableError | None = None
        for candidate in candidates:
            try:
                packages = self.kind.packages(describe(candidate))
                for package in packages:
                    self._check_origin(package)
                return packages
            except (SimulWhisperError, OSError) as error:
                failure = failure or CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error))
        if failure:
            raise failure
        return None

    def _fetched(self, progress: ProgressHandler) -> Path:
        self.check_possible()
        try:
            found = fetched_package(self.model, progress, part=self.kind.part, timeout_s=self.hub_timeout_s)
        except SimulWhisperError as error:
            raise CoreMLUnavailableError(Stage.DOWNLOAD_FAILED, str(error)) from error
        if found is None:
            raise CoreMLUnavailableError(
                Stage.COREML_UNAVAILABLE, f"{_NO_PACKAGE}: the hub has no Core ML {self.kind.part} of {self.model}"
            )
        return found

    def _check_origin(self, found: "Description") -> None:
        """Raise ModelError for a package that says it was made from other weights, as ours do."""
        if (said := found.metadata.get(self.kind.origin)) is None:
            return
        precision: Precision = "float32" if found.metadata.get("precision") == "float32" else "float16"
        if precision not in self._digests:
            self._digests[precision] = self.kind.digest(precision)
        if said != self._digests[precision]:
            raise ModelError(f"{found.path}: made from other weights than those of {self.model}")

    def _compiled(
        self, runtime: CoreMLRuntime, packages: "tuple[Description, ...]", progress: ProgressHandler, cancelled: Event
    ) -> Path:
        from simul_whisper.coreml.compilation import compile_in_child

        if not wants_neural_engine(self.compute_units):
            return packages[0].path
        progress(Progress(Stage.COMPILING_ANE, packages[0].path.name))
        return compile_in_child(runtime, packages, self.compute_units, cancelled)


def prepared(
    kind: Kind[Component, Answer],
    path: str | None,
    config: AlignAttConfig,
    directory: Path,
    runtime: CoreMLRuntime | None,
) -> Preparation[Component, Answer]:
    """Return the preparation that the config asks for.

    path: of the package, if the config names one. directory: of the weights.
    """
    return Preparation(
        kind,
        model=config.model_path or config.model_name,
        names=tuple(name for name in (config.model_path, config.model_name) if name),
        # A program may change its working directory before the package is opened.
        path=str(Path(path).expanduser().absolute()) if path else None,
        directory=directory.resolve(),
        compute_units=config.coreml_compute_units,
        timeout_s=config.compile_timeout,
        download=config.coreml_download,
        hub_timeout_s=config.download_timeout,
        runtime=runtime,
    )


def current_weights(weights: Weights) -> Callable[[], Weights]:
    """Return what gives the weights: these as long as somebody holds them, else read again.

    Held by the model as long as it lives, they would take memory for what is rarely needed.
    """
    held, source = weakref.ref(weights), weights.source.absolute()
    name, heads = weights.name, weights.alignment_heads

    def current() -> Weights:
        return held() or load_directory(name, source, heads)

    return current
