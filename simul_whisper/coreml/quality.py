"""Whether a package of compressed weights still computes what its model computes: tried once, when it is made.

The package runs in the reference runtime, on any machine, and on the sound that is tried when a package is loaded.
"""

from pathlib import Path

from simul_whisper.coreml.parity import LEAST_DB, Parity, parity
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.encoders.fallback import probe
from simul_whisper.encoders.mlx import MlxEncoder
from simul_whisper.errors import ConfigError
from simul_whisper.mel import HOPS_PER_FRAME, Mel
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.weights.model import Weights


def encoder_likeness(package: Path, weights: Weights, progress: ProgressHandler = silent) -> Parity:
    """Return how near the features of an `.mlpackage` are to those of the MLX encoder of the same weights.

    A large encoder takes a minute. Raises WeightsError and EncoderError as loading the package does.
    """
    dims, whole = weights.dims, probe(weights.dims.n_mels)
    window = Mel(whole.columns[:, : HOPS_PER_FRAME * dims.n_audio_ctx], min(whole.content_frames, dims.n_audio_ctx))
    progress(Progress(Stage.CHECKING, "with MLX"))
    # First, and let go, so that the memory of one encoder is enough.
    reference = MlxEncoder(weights).encode(window)
    model = ReferenceModel(package, keep_expanded=False, progress=progress)
    return parity(CoreMLEncoder(model, model.description, dims).encode(window), reference)


def check_likeness(likeness: Parity, quantize: str) -> None:
    """Raise ConfigError when loading would refuse the package, since it answers nonsense."""
    if likeness.psnr_db < LEAST_DB:
        raise ConfigError(
            f"quantize = {quantize} makes nonsense of these weights: got {likeness.psnr_db:.1f} dB against MLX, "
            f"expected at least {LEAST_DB:g}; choose another value of quantize. Nothing was written"
        )
