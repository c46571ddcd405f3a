"""A Core ML package against MLX's encoder or decoder of the same model: the numbers, and the words that come of them.

On a Mac the package runs in Core ML itself, elsewhere in the reference runtime. Bounds are for packages that differ in
number type alone; those with compressed weights have none, since how much they may lose is for their user to decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

from simul_whisper.audio import MAX_WINDOW_SAMPLES, SAMPLE_RATE, Samples, as_samples
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml import interface
from simul_whisper.coreml.contents import NumberType, contents
from simul_whisper.coreml.decoder_steps import steps_parity
from simul_whisper.coreml.description import Description, Feature, Function, describe
from simul_whisper.coreml.parity import Parity, parity
from simul_whisper.coreml.reference import REFERENCE, ReferenceRuntime
from simul_whisper.coreml.runtime import CoreMLRuntime, default_runtime, open_model
from simul_whisper.decoders import TextDecoder
from simul_whisper.decoders.mlx import MlxDecoder
from simul_whisper.decoders.packages import decoder_packages, open_decoder
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.encoders.mlx import MlxEncoder
from simul_whisper.errors import AudioFormatError, EncoderNotLoadedError, ShapeConversionError
from simul_whisper.mel import Mel, log_mel
from simul_whisper.model import Model, load_model
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.weights import load_weights
from simul_whisper.weights.model import Weights
from simul_whisper.whisper import PaddedAlignAttWhisper

BOUNDS_DB = {NumberType.FLOAT32: 100.0, NumberType.FLOAT16: 60.0}
SAMPLES_BOUNDS_DB = {NumberType.FLOAT32: 60.0, NumberType.FLOAT16: 35.0}
"""Of what is heard: the least that is inaudible is enough."""


@dataclass(frozen=True)
class Measured:
    """what: features, logits, attention or samples. number_type: what they were computed in, not always the package's.

    bound_db: the least PSNR for that number type; None where there is no bound.
    """

    what: str
    number_type: NumberType
    parity: Parity

    @property
    def bound_db(self) -> float | None:
        return (SAMPLES_BOUNDS_DB if self.what == "samples" else BOUNDS_DB).get(self.number_type)

    @property
    def passed(self) -> bool:
        return self.bound_db is None or self.parity.psnr_db >= self.bound_db


@dataclass(frozen=True)
class Verification:
    """What was found.

    part: "encoder", "decoder", "vocoder" or "encoder+projector". number_type: of the package. runtime: what ran it.
    reference_text, text: streamed with MLX's, or from a vocoder's samples in ONNX Runtime, and with the package's; both
    empty where texts were not compared. equal_words: share of words, 0 to 1.
    """

    part: str
    runtime: str
    number_type: NumberType
    measured: tuple[Measured, ...]
    reference_text: str
    text: str
    equal_words: float

    @property
    def passed(self) -> bool:
        return all(each.passed for each in self.measured)


def verify(
    package: Path,
    samples: Samples,
    config: AlignAttConfig,
    runtime: CoreMLRuntime | None = None,
    progress: ProgressHandler = silent,
) -> Verification:
    """Compare a package with the model that the config names, on mono speech at 16 kHz, float32 (n,).

    runtime: None for Core ML on a Mac, else the reference runtime. MLX runs in float32 on the CPU. Whether the package
    is an encoder or a decoder, it tells itself. Raises ModelError, BackendError, ConfigError or AudioFormatError, and
    EncoderError for a package of another model, or one that is neither.
    """
    samples = as_samples(samples)
    if not len(samples):
        raise AudioFormatError("there is no audio; comparing with MLX needs some speech")
    runtime = runtime or default_runtime() or REFERENCE
    found = describe(package)
    config = replace(config, encoder_backend="mlx", decoder_backend="mlx", use_coreml_encoder=False).validated()
    weights = load_weights(config.model_path or config.model_name, progress=progress)
    check = _Check(found, contents(package).number_type, runtime, config, weights, samples, progress)
    model = load_model(config, progress)
    part, (measured, reference, own) = (
        ("decoder", check.decoder(model)) if _is_decoder(found) else ("encoder", check.encoder(model))
    )
    progress(Progress(Stage.CHECKING, "the streamed text"))
    texts = [streamed_text(samples, each, config) for each in (reference, own)]
    return Verification(
        part=part,
        runtime=runtime_name(runtime, config.coreml_compute_units),
        number_type=check.number_type,
        measured=tuple(measured),
        reference_text=texts[0],
        text=texts[1],
        equal_words=equal_words(texts[1], texts[0]),
    )


def runtime_name(runtime: CoreMLRuntime, compute_units: str) -> str:
    """Return what a runtime is called, for people."""
    is_numpy = isinstance(runtime, ReferenceRuntime)
    return "the reference runtime (NumPy)" if is_numpy else f"Core ML ({compute_units})"


def is_vocoder(found: Description) -> bool:
    """Return whether a package is a vocoder, by what it says of itself or gives."""
    return found.metadata.get("part") == "vocoder" or interface.SAMPLES in {each.name for each in found.outputs}


def _is_decoder(found: Description) -> bool:
    """Return whether a package is a decoder, or a part of one, by what it says of itself or gives."""
    part = found.metadata.get("part")
    return part == "decoder" if part else interface.LOGITS in {each.name for each in found.outputs}


@dataclass(frozen=True)
class _Check:
    """A package, and all that it is compared with."""

    found: Description
    number_type: NumberType
    runtime: CoreMLRuntime
    config: AlignAttConfig
    weights: Weights
    samples: Samples
    progress: ProgressHandler

    def encoder(self, model: Model) -> tuple[list[Measured], Model, Model]:
        """Return what was measured, and the model with MLX's encoder and with the package's."""
        units, reference = self.config.coreml_compute_units, MlxEncoder(self.weights, "cpu")
        opened = open_model(self.runtime, self.found.path, units)
        encoder = CoreMLEncoder(opened, self.found, self.weights.dims, units)
        self.progress(Progress(Stage.CHECKING, "the features"))
        windows = whole_windows(self.samples, self.weights.dims.n_mels)
        likeness = features_parity(self.found, encoder, reference, windows)
        measured = [Measured("features", self.number_type, likeness)]
        return measured, model.using(encoder=reference), model.using(encoder=encoder)

    def decoder(self, model: Model) -> tuple[list[Measured], Model, Model]:
        """Return the same of decoders; a package in float16 is also computed in float32 where that can be done."""
        decoder_packages(self.found, self.weights.dims, self.weights.alignment_heads)
        decoder, reference = self._opened(self.runtime, self.found), MlxDecoder(self.weights, "cpu", "none")
        window = log_mel(self.samples[:MAX_WINDOW_SAMPLES], self.weights.dims.n_mels)
        self.progress(Progress(Stage.CHECKING, "logits and attention"))
        # Both get numbers that float16 has.
        features = MlxEncoder(self.weights, "cpu").encode(window).astype(np.float16).astype(np.float32)
        measured = self._steps(decoder, reference, features, model, self.number_type)
        if self.number_type is NumberType.FLOAT16 and isinstance(self.runtime, ReferenceRuntime):
            self.progress(Progress(Stage.CHECKING, "the same, computed in float32"))
            precise = self._opened(ReferenceRuntime(float16=False), _in_float32(self.found))
            measured += self._steps(precise, reference, features, model, NumberType.FLOAT32)
        return measured, model.using(decoder=reference), model.using(decoder=decoder)

    def _opened(self, runtime: CoreMLRuntime, found: Description) -> TextDecoder:
        units, heads = self.config.coreml_compute_units, self.weights.alignment_heads
        return open_decoder(runtime, found.path, found, self.weights.dims, heads, units)

    def _steps(
        self, decoder: TextDecoder, reference: TextDecoder, features: Features, model: Model, number_type: NumberType
    ) -> list[Measured]:
        tokenizer = model.tokenizer
        language = "en" if self.config.language == "auto" else self.config.language
        prompt = tokenizer.sot_sequence(language, self.config.task)
        likeness = steps_parity(decoder, reference, features, prompt, tokenizer.eot)
        return [
            Measured("logits", number_type, likeness.logits),
            Measured("attention", number_type, likeness.attention),
        ]


def _in_float32(found: Description) -> Description:
    """Return how a package describes itself when all of it is computed in float32."""

    def wide(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        return tuple(replace(each, dtype="float32") if each.dtype == "float16" else each for each in features)

    def widened(function: Function) -> Function:
        return Function(function.name, wide(function.inputs), wide(function.outputs), wide(function.states))

    functions = tuple(map(widened, found.functions))
    own = widened(found.function())
    return replace(found, inputs=own.inputs, outputs=own.outputs, states=own.states, functions=functions)


def whole_windows(samples: Samples, n_mels: int) -> list[Mel]:
    """Return all of the audio, in windows of 30 s, the last one padded."""
    starts = range(0, len(samples), MAX_WINDOW_SAMPLES)
    return [log_mel(samples[start : start + MAX_WINDOW_SAMPLES], n_mels) for start in starts]


def features_parity(
    found: Description, encoder: AudioEncoder, reference: AudioEncoder, windows: Sequence[Mel]
) -> Parity:
    """Compare the features of an encoder's package with others. Raises EncoderNotLoadedError for another model's."""
    try:
        return parity(_features(encoder, windows), _features(reference, windows))
    except ShapeConversionError as error:
        raise EncoderNotLoadedError(f"{found.path}: belongs to another model: {error}") from error


def _features(encoder: AudioEncoder, windows: Sequence[Mel]) -> Features:
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
