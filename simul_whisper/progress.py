"""What long work (download, assembly, conversion, compilation) reports while it runs, and why it failed."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from simul_whisper.errors import SimulWhisperError


class Stage(Enum):
    """What is being done, or what went wrong."""

    LICENCE = "licence"
    DOWNLOADING = "downloading"
    DOWNLOADING_COREML = "downloading_coreml"
    PREPARING = "preparing"
    LOADING = "loading"
    CONVERTING = "converting"
    CHECKING = "checking"
    HEARING = "hearing"
    COMPILING_ANE = "compiling_ane"
    COREML_UNAVAILABLE = "coreml_unavailable"
    DOWNLOAD_FAILED = "download_failed"
    COMPILATION_FAILED = "compilation_failed"


@dataclass(frozen=True)
class Progress:
    """A stage, and how much of it is done.

    detail: what is worked on, or the reason of a failure. done, total: bytes or steps; both 0 where nothing is counted.
    part: encoder, decoder or vocoder, where Core ML gets one of them ready; else empty.
    error: the failure, where there is an error of ours for it.
    """

    stage: Stage
    detail: str = ""
    done: int = 0
    total: int = 0
    part: str = ""
    error: SimulWhisperError | None = None

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None where nothing is counted."""
        return self.done / self.total if self.total else None


ProgressHandler = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The handler for callers that show nothing."""
