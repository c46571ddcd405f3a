"""The vocoder's package: what it says about itself, and how it is written. Knows nothing of the network."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from simul_whisper.coreml import writing
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.locate import package_name
from simul_whisper.coreml.writing import Converted
from simul_whisper.errors import BackendError, ConfigError, ModelNotFoundError
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.voices.catalog import list_voices

if TYPE_CHECKING:
    from simul_whisper.vocoders.hifigan import HifiGan

_SUFFIX = ".onnx"
_DESCRIPTION = "A voice's vocoder: frames of features in, samples out"


def check(conversion: Conversion) -> None:
    """Raise ConfigError when no vocoder can be converted so."""
    if replace(conversion, attention="split", shapes="enumerated", quantize="none") != conversion:
        raise ConfigError(
            "attention, shapes and quantize do not concern a vocoder, which is small and has one shape; leave them out"
        )


def voice_file(voice: str) -> Path:
    """Return the file of a Piper voice that is given by its path, or by its name if it is installed.

    Raises ModelNotFoundError.
    """
    places = {each.name: Path(each.location) for each in list_voices() if each.location.endswith(_SUFFIX)}
    path = places.get(voice, Path(voice).expanduser())
    if not path.is_file():
        there = f", or one of {', '.join(places)}" if places else ""
        raise ModelNotFoundError(f"{voice}: no such Piper voice; expected the .onnx file of one{there}")
    return path


def convert_vocoder(
    voice: Path,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
    name: str = "",
) -> Converted:
    """Write the vocoder of a Piper voice, an .onnx file, into `output_dir` as a Core ML package.

    name: what the package calls the voice, in place of its file's name. On macOS it is compiled as well. Raises
    BackendError without coremltools or onnx, VocoderError when it is no such voice, ConfigError for what `check`
    refuses and when nothing can be written; then the older package is still there.
    """
    writing.require_coremltools()
    check(conversion)
    try:
        from simul_whisper.vocoders.voice_file import split_voice
    except ImportError as error:
        raise BackendError(f"voices cannot be read: {error}; pip install 'simul-whisper[voice]'") from error
    start_s = time.perf_counter()
    vocoder = split_voice(voice).vocoder
    package = output_dir / package_name(voice.stem, "vocoder", name)
    # coremltools takes seconds to import, so only when it is going to be used.
    from simul_whisper.coreml import layers, vocoder_program

    with writing.folder_in(output_dir) as folder:
        model = vocoder_program.build(vocoder, conversion, progress)
        try:
            digest = hashlib.sha256(voice.read_bytes()).hexdigest()
            writing.save(model, folder / package.name, _DESCRIPTION, _metadata(vocoder, conversion), voice.stem, digest)
        finally:
            layers.discard(model)
        writing.clear(package)
        (folder / package.name).rename(package)
        compiled = writing.compiled(package)
    return Converted(package, None, compiled, time.perf_counter() - start_s, describe(package).size_bytes)


def _metadata(vocoder: "HifiGan", conversion: Conversion) -> dict[str, str]:
    return {
        "part": "vocoder",
        "vocoder_sha256": vocoder.digest(conversion.precision),
        "sample_rate": str(vocoder.rate),
        "precision": conversion.precision,
        "target": conversion.target,
    }
