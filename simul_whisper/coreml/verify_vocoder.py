"""A vocoder's package against ONNX Runtime, which runs the voice's own graph: the numbers, and what Whisper hears."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from simul_whisper.audio import SAMPLE_RATE, Samples
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.contents import NumberType, contents
from simul_whisper.coreml.conversion import Precision
from simul_whisper.coreml.description import Description, describe
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.reference import REFERENCE, ReferenceRuntime
from simul_whisper.coreml.runtime import CoreMLRuntime, default_runtime, open_model
from simul_whisper.coreml.verify import Measured, Verification, equal_words, runtime_name, streamed_text
from simul_whisper.errors import ConfigError, VocoderNotLoadedError
from simul_whisper.model import load_model
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.vocoders import AudioVocoder, VocoderFeatures
from simul_whisper.vocoders.coreml import CoreMLVocoder
from simul_whisper.vocoders.hifigan import HifiGan
from simul_whisper.vocoders.onnx import OnnxVocoder
from simul_whisper.vocoders.voice_file import SplitVoice
from simul_whisper.voices.piper import open_piper

# Between two phrases, so that Whisper hears where they end.
_PAUSE_S = 0.3


def verify_vocoder(
    package: Path,
    voice: Path,
    text: str,
    config: AlignAttConfig,
    runtime: CoreMLRuntime | None = None,
    progress: ProgressHandler = silent,
) -> Verification:
    """Let the voice, a Piper .onnx file, say the text with both vocoders, and compare what they make of its features.

    runtime: None for Core ML on a Mac, else the reference runtime. A package in float16 is also computed in float32
    where that can be done. Raises ModelError, BackendError, ConfigError for a text of which nothing is spoken, and
    VocoderError for a package that is no vocoder or another voice's.
    """
    runtime = runtime or default_runtime() or REFERENCE
    found, number_type, units = describe(package), contents(package).number_type, config.coreml_compute_units
    progress(Progress(Stage.CHECKING, "the samples"))
    recorded, language = _recorded(voice, text, found)
    first, own = _compared(found, recorded, runtime, units, number_type)
    measured = [first]
    if number_type is NumberType.FLOAT16 and isinstance(runtime, ReferenceRuntime):
        progress(Progress(Stage.CHECKING, "the same, computed in float32"))
        precise = ReferenceRuntime(float16=False)
        measured.append(_compared(found, recorded, precise, units, NumberType.FLOAT32)[0])
    progress(Progress(Stage.CHECKING, "what Whisper hears"))
    config = replace(config, language=language) if config.language == "auto" else config
    model = load_model(config.validated(), progress)
    texts = [streamed_text(_heard(each, recorded.rate), model, config) for each in (recorded.samples, own)]
    return Verification(
        part="vocoder",
        runtime=runtime_name(runtime, units),
        number_type=number_type,
        measured=tuple(measured),
        reference_text=texts[0],
        text=texts[1],
        equal_words=equal_words(texts[1], texts[0]),
    )


def _recorded(voice: Path, text: str, found: Description) -> "tuple[_Recorder, str]":
    """Let a voice, which must be that of the package, say the text; return what it made, and its language."""
    opened = list[_Recorder]()

    def recorder(_: Path, parts: SplitVoice) -> AudioVocoder:
        opened.append(_Recorder(parts))
        return opened[0]

    speaker = open_piper(voice, recorder, chance=0)
    [recorded] = opened
    _check_origin(found, recorded.vocoder, voice)
    (language,) = speaker.languages
    if not list(speaker.speak(text, language)):
        raise ConfigError("there is nothing to be spoken in the text; give --text with a sentence")
    return recorded, language


class _Recorder:
    """The vocoder of a voice in ONNX Runtime, and all that went in and came out, phrase by phrase."""

    def __init__(self, parts: SplitVoice) -> None:
        self._reference = OnnxVocoder(parts.vocoder, parts.reference)
        self.vocoder, self.rate, self.description = parts.vocoder, parts.vocoder.rate, self._reference.description
        self.features = list[VocoderFeatures]()
        self.samples = list[NDArray[np.float32]]()

    def decode(self, features: VocoderFeatures) -> NDArray[np.float32]:
        samples = self._reference.decode(features)
        self.features.append(features)
        self.samples.append(samples)
        return samples


def _compared(
    found: Description, recorded: _Recorder, runtime: CoreMLRuntime, compute_units: str, number_type: NumberType
) -> tuple[Measured, list[Samples]]:
    """Return how near a package is to what was recorded, and what it makes of each phrase."""
    model = open_model(runtime, found.path, compute_units)
    vocoder = CoreMLVocoder(model, found, recorded.vocoder, compute_units)
    samples = [vocoder.decode(each) for each in recorded.features]
    likeness = parity(np.concatenate(samples), np.concatenate(recorded.samples))
    return Measured("samples", number_type, likeness), samples


def _check_origin(found: Description, vocoder: HifiGan, voice: Path) -> None:
    """Raise VocoderNotLoadedError for a package that says it was made from other weights."""
    precision: Precision = "float32" if found.metadata.get("precision") == "float32" else "float16"
    said = found.metadata.get("vocoder_sha256")
    if said is not None and said != vocoder.digest(precision):
        raise VocoderNotLoadedError(f"{found.path}: belongs to another voice: made from other weights than {voice}")


def _heard(phrases: Sequence[Samples], rate: int) -> Samples:
    """Return phrases one after the other, at the rate of Whisper."""
    pause = np.zeros(round(_PAUSE_S * rate), np.float32)
    whole = np.concatenate([part for phrase in phrases for part in (phrase, pause)])
    common = np.gcd(rate, SAMPLE_RATE)
    heard: Samples = resample_poly(whole, SAMPLE_RATE // common, rate // common).astype(np.float32)
    return np.clip(heard, -1, 1)
