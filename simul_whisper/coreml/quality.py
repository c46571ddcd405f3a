"""Whether a package of compressed weights still computes what its model computes: tried once, when it is made.

The package runs in the reference runtime, on any machine, and on what is tried when a package is loaded.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from simul_whisper.coreml.description import describe
from simul_whisper.coreml.interface import Projection
from simul_whisper.coreml.parity import LEAST_DB, parity
from simul_whisper.coreml.reference import ReferenceModel, ReferenceRuntime
from simul_whisper.decoders.fallback import LEAST_DB as LEAST_DECODER_DB
from simul_whisper.decoders.fallback import Probe, agreement_db, first_answer, probe_text
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.decoders.packages import open_decoder
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.encoders.fallback import probe
from simul_whisper.encoders.mlx import MlxEncoder
from simul_whisper.errors import ConfigError
from simul_whisper.machine import give_back_memory
from simul_whisper.mel import HOPS_PER_FRAME, Mel
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.weights.model import Dims, Weights
from simul_whisper.whisper_tokenizer import WhisperTokenizer


def likeness_db(
    package: Path,
    dims: Dims,
    exact: Callable[[], AudioEncoder],
    projection: Projection | None = None,
    progress: ProgressHandler = silent,
) -> float:
    """Return the PSNR of the features of an encoder's `.mlpackage` against those of an exact encoder of its weights.

    exact: loads that one. A large encoder takes minutes. Raises WeightsError and EncoderError as loading the package
    does.
    """
    window, reference = _window(dims), _features(exact, dims, progress)
    model = ReferenceModel(package, keep_expanded=False, progress=progress)
    encoder = CoreMLEncoder(model, model.description, dims, projection=projection)
    return parity(encoder.encode(window), reference).psnr_db


def decoder_likeness_db(package: Path, weights: Weights, progress: ProgressHandler = silent) -> float:
    """Return how well a decoder's first answer agrees with that of the MLX decoder of the same weights.

    package: with all functions or, with those of the other functions beside it, that of the step. Raises WeightsError
    and EncoderError as loading the package does.
    """
    dims, heads = weights.dims, weights.alignment_heads
    tried = Probe(_features(lambda: MlxEncoder(weights), dims, progress), _text(weights))
    reference = first_answer(MlxDecoder(weights), tried)
    give_back_memory()
    runtime = ReferenceRuntime(keep_expanded=False, progress=progress)
    decoder = open_decoder(runtime, package, describe(package), dims, heads)
    return agreement_db(first_answer(decoder, tried), reference)


def check_encoder(likeness_db: float, quantize: str) -> None:
    """Raise ConfigError when loading would refuse an encoder, since it answers nonsense."""
    _check(likeness_db, LEAST_DB, quantize)


def check_decoder(likeness_db: float, quantize: str) -> None:
    """Raise ConfigError when loading would refuse a decoder, since it answers nonsense."""
    _check(likeness_db, LEAST_DECODER_DB, quantize)


def _check(likeness_db: float, least_db: float, quantize: str) -> None:
    # What is not a number is no likeness either.
    if not likeness_db >= least_db:
        raise ConfigError(
            f"quantize = {quantize} makes nonsense of these weights: got {likeness_db:.1f} dB against MLX, expected at "
            f"least {least_db:g}; choose another value of quantize. Nothing was written"
        )


def _text(weights: Weights) -> Sequence[int]:
    if weights.tokenizer_file.exists():
        return probe_text(WhisperTokenizer(weights.tokenizer_file, weights.dims.n_vocab))
    return range(weights.dims.n_text_ctx)


def _window(dims: Dims) -> Mel:
    whole = probe(dims.n_mels)
    return Mel(whole.columns[:, : HOPS_PER_FRAME * dims.n_audio_ctx], min(whole.content_frames, dims.n_audio_ctx))


def _features(exact: Callable[[], AudioEncoder], dims: Dims, progress: ProgressHandler) -> Features:
    """Return what MLX makes of the window; its encoder is let go, so that the memory of one is enough."""
    progress(Progress(Stage.CHECKING, "with MLX"))
    give_back_memory()
    features = exact().encode(_window(dims))
    give_back_memory()
    return features
