"""A Core ML package against the MLX encoder of the same model: the features, and the words that come of them.

On a Mac the package runs in Core ML itself, elsewhere in the reference runtime. Bounds are for packages that differ in
number type alone; those with compressed weights have none, since how much they may lose is for their user to decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

from simul_whisper.audio import MAX_WINDOW_SAMPLES, SAMPLE_RATE, Samples, as_samples
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.contents import NumberType, contents
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.parity import Parity, parity
from simul_whisper.coreml.reference import REFERENCE
from simul_whisper.coreml.runtime import CoreMLRuntime, default_runtime, open_model
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.encoders.mlx import MlxEncoder
from simul_whisper.errors import AudioFormatError
from simul_whisper.mel import Mel, log_mel
from simul_whisper.model import Model, load_model
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.weights import load_weights
from simul_whisper.whisper import PaddedAlignAttWhisper

BOUNDS_DB = {NumberType.FLOAT32: 100.0, NumberType.FLOAT16: 60.0}


@dataclass(frozen=True)
class Verification:
    """What was found.

    runtime: what ran the package. bound_db: the least PSNR for its number type; None where there is no bound.
    reference_text, text: streamed with the MLX encoder, and with the package. equal_words: share of words, 0 to 1.
    """

    runtime: str
    number_type: NumberType
    parity: Parity
    bound_db: float | None
    reference_text: str
    text: str
    equal_words: float

    @property
    def passed(self) -> bool:
        return self.bound_db is None or self.parity.psnr_db >= self.bound_db


def verify(
    package: Path,
    samples: Samples,
    config: AlignAttConfig,
    runtime: CoreMLRuntime | None = None,
    progress: ProgressHandler = silent,
) -> Verification:
    """Compare a package with the model that the config names, on mono speech at 16 kHz, float32 (n,).

    runtime: None for Core ML on a Mac, else the reference runtime. The MLX encoder runs in float32 on the CPU.
    Raises ModelError, BackendError, EncoderError, ConfigError or AudioFormatError.
    """
    samples = as_samples(samples)
    if not len(samples):
        raise AudioFormatError("there is no audio; comparing two encoders needs some speech")
    runtime = runtime or default_runtime() or REFERENCE
    found = describe(package)
    number_type = contents(package).number_type
    config = replace(config, encoder_backend="mlx", use_coreml_encoder=False).validated()
    weights = load_weights(config.model_path or config.model_name, progress=progress)
    opened = open_model(runtime, package, config.coreml_compute_units)
    encoder = CoreMLEncoder(opened, found, weights.dims, config.coreml_compute_units)
    reference = MlxEncoder(weights, "cpu")
    windows = list(_windows(samples, weights.dims.n_mels))
    likeness = parity(_features(encoder, windows), _features(reference, windows))
    model = load_model(config, progress)
    texts = [streamed_text(samples, model.using(encoder=each), config) for each in (reference, encoder)]
    return Verification(
        runtime="the reference runtime (NumPy)" if runtime is REFERENCE else f"Core ML ({config.coreml_compute_units})",
        number_type=number_type,
        parity=likeness,
        bound_db=BOUNDS_DB.get(number_type),
        reference_text=texts[0],
        text=texts[1],
        equal_words=equal_words(texts[1], texts[0]),
    )


def _windows(samples: Samples, n_mels: int) -> Iterator[Mel]:
    """Yield all of the audio, in windows of 30 s, the last one padded."""
    for start in range(0, len(samples), MAX_WINDOW_SAMPLES):
        yield log_mel(samples[start : start + MAX_WINDOW_SAMPLES], n_mels)


def _features(encoder: AudioEncoder, windows: list[Mel]) -> Features:
    return np.concatenate([encoder.encode(window) for window in windows])


def streamed_text(samples: Samples, model: Model, config: AlignAttConfig) -> str:
    """Return what is committed when the audio comes in chunks of `segment_length`."""
    whisper = PaddedAlignAttWhisper(config, model)
    n_chunk = round(config.segment_length * SAMPLE_RATE)
    pieces = []
    for start in range(0, len(samples), n_chunk):
        whisper.insert_audio(samples[start : start + n_chunk])
        pieces.append(whisper.infer(is_last=start + n_chunk >= len(samples)).text)
    return "".join(pieces).strip()


def equal_words(text: str, reference: str) -> float:
    """Return the share, 0 to 1, of the words that both have in the same order, of the longer of the two.

    Punctuation after a word does not count.
    """
    words, expected = ([word.rstrip(".,?!") for word in each.split()] for each in (text, reference))
    if not words and not expected:
        return 1.0
    blocks = SequenceMatcher(None, words, expected, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(len(words), len(expected))
