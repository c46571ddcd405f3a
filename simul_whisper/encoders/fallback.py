"""The encoder in use, and what takes its place: Core ML once it is ready, another encoder when Core ML fails."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simul_whisper.audio import SAMPLE_RATE
from simul_whisper.coreml.conversion import Precision
from simul_whisper.coreml.interface import Projection
from simul_whisper.coreml.locate import PartName
from simul_whisper.coreml.parity import LEAST_DB, parity
from simul_whisper.coreml.preparation import CoreMLUnavailableError, Kind
from simul_whisper.coreml.runtime import CoreMLRuntime, open_model
from simul_whisper.encoders import AudioEncoder, BatchingEncoder, Features
from simul_whisper.errors import EncoderError
from simul_whisper.fallback import ChangingPart
from simul_whisper.mel import Mel, log_mel
from simul_whisper.progress import Stage
from simul_whisper.weights.model import Dims, Weights

if TYPE_CHECKING:
    from simul_whisper.coreml.description import Description

_PROBE_S = 4
# A package that does not say what it was made from must agree better than nonsense does: an encoder that
# somebody has trained further is 20 to 40 dB away from its origin.
_LEAST_DB_OF_UNKNOWN_ORIGIN = 40.0


class FallbackEncoder(ChangingPart[AudioEncoder, Features]):
    """An encoder like any other, that may change between two windows."""

    name = "encoder"

    def encode(self, mel: Mel) -> Features:
        """As any encoder. A window on which Core ML fails is encoded by the encoder that takes its place."""
        self.take_over_if_ready()
        try:
            return self.load().encode(mel)
        except EncoderError as error:
            if not self.is_coreml:
                raise
            self.fall_back(CoreMLUnavailableError(Stage.COREML_UNAVAILABLE, str(error)))
            return self.load().encode(mel)

    @property
    def most_together(self) -> int:
        encoder = self.load()
        return encoder.most_together if isinstance(encoder, BatchingEncoder) else 1

    def encode_together(self, mels: Sequence[Mel]) -> list[Features]:
        """As `encode`, for each; together where the encoder in use does that."""
        self.take_over_if_ready()
        encoder = self.load()
        if isinstance(encoder, BatchingEncoder):
            return encoder.encode_together(mels)
        return [self.encode(mel) for mel in mels]


def coreml_encoder(weights: Callable[[], Weights], dims: Dims, compute_units: str) -> Kind[AudioEncoder, Features]:
    """Return how the encoder of a model with these weights and dimensions runs in Core ML."""
    from simul_whisper.coreml.package import encoder_digest

    return coreml_kind("encoder", lambda precision: encoder_digest(weights(), precision), dims, compute_units)


def coreml_kind(
    part: PartName,
    digest: Callable[[Precision], str],
    dims: Dims,
    compute_units: str,
    projection: Projection | None = None,
) -> Kind[AudioEncoder, Features]:
    """Return how an encoder with these dimensions runs in Core ML.

    part, digest: of the packages that are the model's. projection: as of `CoreMLEncoder`.
    """
    from simul_whisper.encoders.coreml import CoreMLEncoder, input_and_output

    def packages(found: "Description") -> "tuple[Description, ...]":
        input_and_output(found, dims, projection)
        return (found,)

    def opened(runtime: CoreMLRuntime, model: Path, found: "Description") -> AudioEncoder:
        return CoreMLEncoder(open_model(runtime, model, compute_units), found, dims, compute_units, projection)

    def trial() -> Callable[[AudioEncoder], Features]:
        return lambda encoder: encoder.encode(probe(dims.n_mels))

    def psnr_db(features: Features, reference: Features) -> float:
        return parity(features, reference).psnr_db

    least_db, least_unknown_db = LEAST_DB, _LEAST_DB_OF_UNKNOWN_ORIGIN
    return Kind(part, packages, opened, digest, trial, psnr_db, least_db, least_unknown_db)


@cache
def probe(n_mels: int) -> Mel:
    """Return the spectrogram of seconds that sound a little like a voice, in a window of 30 s: what is tried first."""
    seconds = np.arange(_PROBE_S * SAMPLE_RATE) / SAMPLE_RATE
    pitch = 140 + 30 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum(np.sin(n * phase) / n for n in range(1, 20)) * np.abs(np.sin(2 * np.pi * 2 * seconds))
    return log_mel((0.1 * voice).astype(np.float32), n_mels)
