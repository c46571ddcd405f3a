"""The vocoder in use, and what takes its place: Core ML once it is ready, another vocoder when Core ML fails."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.preparation import CoreMLUnavailableError, Kind, Preparation
from simul_whisper.coreml.runtime import CoreMLRuntime, open_model
from simul_whisper.errors import VocoderError
from simul_whisper.fallback import BackendStatus, ChangingPart
from simul_whisper.progress import ProgressHandler, Stage, silent
from simul_whisper.vocoders import AudioVocoder, VocoderFeatures
from simul_whisper.vocoders.hifigan import HifiGan

if TYPE_CHECKING:
    from simul_whisper.coreml.description import Description

Samples = NDArray[np.float32]
VocoderKind = Kind[AudioVocoder, Samples]

LEAST_DB, LEAST_DB_OF_UNKNOWN_ORIGIN = 20.0, 30.0
"""How well the first answer in Core ML must agree; float16 reaches 70 dB, another voice's vocoder none."""
PROBE_FRAMES = 32


class FallbackVocoder(ChangingPart[AudioVocoder, Samples]):
    """A vocoder like any other, that may change between two phrases, and that any thread may use: one at a time.

    rate: of the voice, which is that of all that may take over.
    """

    name = "vocoder"

    def __init__(
        self,
        rate: int,
        status: BackendStatus,
        make: Callable[[], AudioVocoder],
        preparation: Preparation[AudioVocoder, Samples] | None = None,
        progress: ProgressHandler = silent,
    ) -> None:
        super().__init__(status, make, preparation, progress)
        self.rate = rate
        self._lock = threading.Lock()

    def decode(self, features: VocoderFeatures) -> Samples:
        """As any vocoder. What Core ML fails on is decoded by the vocoder that takes its place."""
        with self._lock:
            self.take_over_if_ready()
            try:
                return self.load().decode(features)
            except VocoderError as error:
                if not self.is_coreml:
                    raise
                self.fall_back(CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)))
                return self.load().decode(features)


def coreml_vocoder(vocoder: HifiGan, compute_units: str) -> VocoderKind:
    """Return how this vocoder runs in Core ML."""
    from simul_whisper.vocoders.coreml import CoreMLVocoder, frames_of

    def packages(found: "Description") -> "tuple[Description, ...]":
        frames_of(found, vocoder)
        return (found,)

    def opened(runtime: CoreMLRuntime, model: Path, found: "Description") -> AudioVocoder:
        return CoreMLVocoder(open_model(runtime, model, compute_units), found, vocoder, compute_units)

    def trial() -> Callable[[AudioVocoder], Samples]:
        return lambda tried: tried.decode(probe(vocoder.n_features))

    def psnr_db(samples: Samples, reference: Samples) -> float:
        return parity(samples, reference).psnr_db

    return Kind("vocoder", packages, opened, vocoder.digest, trial, psnr_db, LEAST_DB, LEAST_DB_OF_UNKNOWN_ORIGIN)


def probe(n_features: int) -> VocoderFeatures:
    """Return what a Core ML vocoder is tried with: features as a voice has them, as far as their size goes."""
    return np.random.default_rng(0).normal(0, 1, (PROBE_FRAMES, n_features)).astype(np.float32)
