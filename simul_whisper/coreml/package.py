"""The package on disk: its name, what it says about itself, and how it is written, linked and compiled.

Knows nothing of the network. Two models with the same encoder, as a distilled one and its parent, share a package.
"""

import hashlib
import importlib.metadata
import importlib.util
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from simul_whisper.coreml.conversion import Conversion, Precision
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.locate import package_name
from simul_whisper.coreml.runtime import COMPILED_SUFFIX
from simul_whisper.errors import BackendError, ConfigError, SimulWhisperError
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.weights import Weights, load_weights

__all__ = ["Conversion", "Converted", "convert", "convert_model", "encoder_digest", "package_name"]

_DESCRIPTION = "Whisper's audio encoder: log-mel columns (10 ms each) in, features (20 ms each) out"
_LICENSE = "That of the weights it was made from; OpenAI's Whisper is MIT"


@dataclass(frozen=True)
class Converted:
    """path: the package. linked_to: the older package that it is a link to; None when it was made anew.

    compiled: the .mlmodelc beside it; None where there is no Core ML to compile with. size_bytes: of the package.
    psnr_db: how near its features are to MLX's, if compressed weights were written; else None.
    """

    path: Path
    linked_to: Path | None
    compiled: Path | None
    duration_s: float
    size_bytes: int
    psnr_db: float | None


def convert_model(
    name_or_path: str,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
) -> Converted:
    """Load a model as `load_weights` does and convert its encoder. Raises what these two raise."""
    # Alignment heads do not concern the encoder: a model without any can be converted too.
    weights = load_weights(name_or_path, alignment_heads=((0, 0),), progress=progress)
    return convert(weights, output_dir, conversion, progress)


def convert(
    weights: Weights,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
) -> Converted:
    """Write the encoder of a model into `output_dir` as a Core ML package, or link to one of the same encoder there.

    On macOS it is compiled as well. Compressed weights are first compared with MLX. Raises BackendError without
    coremltools, ConfigError when nothing can be written or compression makes nonsense of the weights.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise BackendError(
            "coremltools is not installed; pip install 'simul-whisper[coreml]', on macOS or on Linux x86-64"
        )
    start_s = time.perf_counter()
    package = output_dir / package_name(weights.name)
    identity = {"encoder_sha256": encoder_digest(weights, conversion.precision), **_settings(conversion)}
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        twin, psnr_db = _twin(package, identity), None
        if twin:
            _remove(package)
            package.symlink_to(twin.name)
        else:
            psnr_db = _write(package, weights, conversion, identity, progress)
        compiled = _compile(package, twin)
    except OSError as error:
        raise ConfigError(f"{output_dir}: cannot be written: {error.strerror or error}") from error
    return Converted(package, twin, compiled, time.perf_counter() - start_s, describe(package).size_bytes, psnr_db)


def encoder_digest(weights: Weights, precision: Precision = "float16") -> str:
    """Return the sha256, in hex, of what an encoder computes: its dimensions and its tensors in this precision.

    Names in order, each with its shape and its values in C order, little-endian. The decoder does not count, nor does
    the file's format, so that a distilled model and its parent agree.
    """
    dims = weights.dims
    digest = hashlib.sha256(
        f"{dims.n_mels} {dims.n_audio_ctx} {dims.n_audio_state} {dims.n_audio_head} {dims.n_audio_layer}\n".encode()
    )
    for name in sorted(name for name in weights.tensors if name.startswith("encoder.")):
        tensor = weights.tensors[name]
        digest.update(f"{name} {' '.join(map(str, tensor.shape))}\n".encode())
        digest.update(np.ascontiguousarray(tensor, np.dtype(precision).newbyteorder("<")).data)
    return digest.hexdigest()


def _settings(conversion: Conversion) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(conversion).items()}


def _twin(package: Path, identity: dict[str, str]) -> Path | None:
    """Return another model's package beside this one, of the same encoder converted likewise; None: there is none."""
    for candidate in sorted(package.parent.glob(package_name("*"))):
        if candidate == package or candidate.is_symlink():
            continue
        # A neighbour that cannot be read is none of our business.
        with suppress(SimulWhisperError):
            if identity.items() <= describe(candidate).metadata.items():
                return candidate
    return None


def _write(
    package: Path, weights: Weights, conversion: Conversion, identity: dict[str, str], progress: ProgressHandler
) -> float | None:
    """Convert, and put the package in place whole or not at all. Returns the PSNR of compressed weights."""
    # coremltools takes seconds to import, so only when it is going to be used.
    from simul_whisper.coreml import encoder_program, layers

    with tempfile.TemporaryDirectory(dir=package.parent, prefix=f".{package.stem}.") as directory:
        model = encoder_program.build(weights.dims, weights.tensors, conversion, progress)
        try:
            psnr_db = _checked(Path(model.package_path), weights, conversion, progress)
            model.short_description, model.author, model.license = _DESCRIPTION, "simul-whisper", _LICENSE
            model.version = _version("simul-whisper")
            model.user_defined_metadata.update(
                identity
                | {
                    "model": weights.name,
                    "weights_sha256": weights.digest,
                    "simul_whisper_version": _version("simul-whisper"),
                    "coremltools_version": _version("coremltools"),
                }
                | ({} if psnr_db is None else {"psnr_db": f"{psnr_db:.1f}"})
            )
            part = Path(directory) / package.name
            model.save(str(part))
        finally:
            layers.discard(model)
        _remove(package)
        part.rename(package)
    return psnr_db


def _checked(package: Path, weights: Weights, conversion: Conversion, progress: ProgressHandler) -> float | None:
    """Compare compressed weights with MLX and return the PSNR, None for others. Raises ConfigError for nonsense."""
    if conversion.quantize == "none":
        return None
    from simul_whisper.coreml.quality import check_likeness, encoder_likeness

    likeness = encoder_likeness(package, weights, progress)
    check_likeness(likeness, conversion.quantize)
    return likeness.psnr_db


def _compile(package: Path, twin: Path | None) -> Path | None:
    """Compile the package, or link to the compiled twin; only macOS can."""
    compiled = package.with_suffix(COMPILED_SUFFIX)
    compiled_twin = twin.with_suffix(COMPILED_SUFFIX) if twin else None
    # One that was compiled from an older package must not be taken for this one.
    _remove(compiled)
    if sys.platform != "darwin":
        return None
    from coremltools.models.utils import compile_model

    if compiled_twin and compiled_twin.exists():
        compiled.symlink_to(compiled_twin.name)
    else:
        try:
            compile_model(str(package.resolve()), str(compiled))
        except RuntimeError as error:
            raise BackendError(f"{package} was written, but Core ML cannot compile it: {error}") from error
    return compiled


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _version(distribution: str) -> str:
    """Return the installed version; "unknown" when it runs from a checkout."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
