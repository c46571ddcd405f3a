"""A package of a Voxtral's encoder, with or without its projector, against MLX: the vectors that the model reads.

Texts are not compared: the language model is the same in either case, and would take minutes on the CPU.
"""

from pathlib import Path

from simul_whisper.audio import Samples, as_samples
from simul_whisper.coreml.contents import contents
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.reference import REFERENCE
from simul_whisper.coreml.runtime import CoreMLRuntime, default_runtime, open_model
from simul_whisper.coreml.verify import Measured, Verification, features_parity, runtime_name, whole_windows
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.errors import AudioFormatError
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.voxtral.checkpoint import VoxtralWeights
from simul_whisper.voxtral.conversion import VoxtralPart, encoder_source


def verify_voxtral(
    package: Path,
    weights: VoxtralWeights,
    samples: Samples,
    compute_units: str = "ALL",
    runtime: CoreMLRuntime | None = None,
    progress: ProgressHandler = silent,
) -> Verification:
    """Compare a package with the model that it was made of, on mono speech at 16 kHz, float32 (n,).

    runtime: None for Core ML on a Mac, else the reference runtime. Whether it has the projector, it tells itself.
    Raises WeightsError, BackendError or AudioFormatError, and EncoderError for a package of another model.
    """
    samples = as_samples(samples)
    if not len(samples):
        raise AudioFormatError("there is no audio; comparing with MLX needs some speech")
    runtime = runtime or default_runtime() or REFERENCE
    found, number_type = describe(package), contents(package).number_type
    part: VoxtralPart = "encoder" if found.metadata.get("part") == "encoder" else "encoder+projector"
    source = encoder_source(weights, part)
    opened = open_model(runtime, package, compute_units)
    encoder = CoreMLEncoder(opened, found, source.dims, compute_units, source.projection)
    progress(Progress(Stage.CHECKING, "the features"))
    likeness = features_parity(found, encoder, source.exact(), whole_windows(samples, source.dims.n_mels))
    measured = (Measured("features", number_type, likeness),)
    return Verification(part, runtime_name(runtime, compute_units), number_type, measured, "", "", 1.0)
