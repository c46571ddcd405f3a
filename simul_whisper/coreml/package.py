"""The encoder's package, with or without a projector: its name, what it says about itself, how it is written and
linked; and all parts.

Knows nothing of the network. Two models with the same encoder, as a distilled one and its parent, share a package.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from simul_whisper.coreml import decoder_package, vocoder_package, writing
from simul_whisper.coreml.conversion import Conversion, Precision
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.interface import Projection
from simul_whisper.coreml.locate import PartName, check_name, package_name
from simul_whisper.coreml.runtime import COMPILED_SUFFIX
from simul_whisper.coreml.writing import Converted
from simul_whisper.encoders import AudioEncoder
from simul_whisper.errors import ConfigError, SimulWhisperError
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.weights import Head, Weights, load_weights
from simul_whisper.weights.model import Dims, Tensors

__all__ = [
    "Conversion",
    "Converted",
    "EncoderSource",
    "Part",
    "convert",
    "convert_encoder",
    "convert_model",
    "encoder_digest",
    "package_name",
]

Part = Literal["encoder", "decoder", "all", "vocoder"]

_NOUNS = {"encoder": "an encoder", "vocoder": "a vocoder"}
_DESCRIPTION = "Whisper's audio encoder: log-mel columns (10 ms each) in, features (20 ms each) out"
_PROJECTED = "Audio encoder and projector: log-mel columns (10 ms each) in, vectors for a language model out"


@dataclass(frozen=True)
class EncoderSource:
    """An encoder that can be written, whatever model it belongs to.

    dims, tensors: as a Whisper has them; with a projection `projector.linear_1.weight`, (width, n_joined *
    n_audio_state), and `projector.linear_2.weight`, (width, width), too. weights_sha256: gives the digest of the files.
    exact: loads what compressed weights are compared with.
    """

    name: str
    dims: Dims
    tensors: Tensors
    weights_sha256: Callable[[], str]
    exact: Callable[[], AudioEncoder]
    projection: Projection | None = None

    @property
    def part(self) -> PartName:
        """What the package is called."""
        return "encoder-projector" if self.projection else "encoder"

    def digest(self, precision: Precision = "float16") -> str:
        """Return the `digest_of` all that the package computes."""
        dims = self.dims
        sizes = f"{dims.n_mels} {dims.n_audio_ctx} {dims.n_audio_state} {dims.n_audio_head} {dims.n_audio_layer}"
        if not self.projection:
            return writing.digest_of(self.tensors, ("encoder",), sizes, precision)
        sizes += f" {self.projection.n_joined} {self.projection.width}"
        return writing.digest_of(self.tensors, ("encoder", "projector"), sizes, precision)


def convert_model(
    name_or_path: str,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
    *,
    part: Part = "encoder",
    alignment_heads: tuple[Head, ...] | None = None,
    name: str | None = None,
) -> tuple[Converted, ...]:
    """Load a model as `load_weights` does and convert its encoder, its decoder or both, in this order.

    Of a Piper voice, a path or a name, it is the vocoder. name: what the packages call the model; None for its own
    name. Raises ConfigError for a name that no file can have. Raises what `load_weights`, `convert`, `convert_decoder`,
    `voice_file` and `convert_vocoder` raise; what is impossible before anything is written.
    """
    check(conversion, part, alignment_heads, name)
    if part == "vocoder":
        voice = vocoder_package.voice_file(name_or_path)
        return (vocoder_package.convert_vocoder(voice, output_dir, conversion, progress, name or ""),)
    if part == "encoder":
        # A model without any can be converted too.
        alignment_heads = ((0, 0),)
    weights = load_weights(name_or_path, alignment_heads=alignment_heads, progress=progress)
    made = [] if part == "decoder" else [convert(weights, output_dir, conversion, progress, name or "")]
    if part != "encoder":
        made.append(decoder_package.convert_decoder(weights, output_dir, conversion, progress, name or ""))
    return tuple(made)


def check(conversion: Conversion, part: Part, alignment_heads: tuple[Head, ...] | None, name: str | None) -> None:
    """Raise ConfigError for what `convert_model` refuses of any model."""
    if name is not None:
        check_name(name)
    if part in ("encoder", "vocoder") and alignment_heads is not None:
        raise ConfigError(f"alignment heads concern the decoder only; leave them out for {_NOUNS[part]}")
    if part in ("decoder", "all"):
        decoder_package.check(conversion, alone=part == "decoder")


def convert(
    weights: Weights,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
    name: str = "",
) -> Converted:
    """Write the encoder of a model into `output_dir` as a Core ML package, or link to one of the same encoder there.

    Parameters and errors: of `convert_encoder`.
    """
    return convert_encoder(_source(weights), output_dir, conversion, progress, name)


def convert_encoder(
    source: EncoderSource,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
    name: str = "",
) -> Converted:
    """Write an encoder into `output_dir` as a Core ML package, or link to one there that computes the same.

    name: what the package calls the model, in place of its own name. On macOS it is compiled as well. Compressed
    weights are first compared with MLX. With a projection windows are of 30 s. Raises BackendError without coremltools,
    ConfigError when nothing can be written, compression makes nonsense of the weights, or shapes cannot be.
    """
    writing.require_coremltools()
    if source.projection:
        conversion = _of_whole_windows(conversion)
    start_s = time.perf_counter()
    package = output_dir / package_name(source.name, source.part, name)
    identity = {f"{source.part}_sha256": source.digest(conversion.precision), **_settings(conversion)}
    psnr_db = None
    with writing.folder_in(output_dir) as folder:
        twin = _twin(package, source.part, identity)
        if twin:
            compiled = _link(package, twin)
        else:
            whole = folder / package.name
            psnr_db = _write(whole, source, conversion, identity, progress)
            writing.clear(package)
            whole.rename(package)
            compiled = writing.compiled(package)
    duration_s = time.perf_counter() - start_s
    return Converted(package, twin, compiled, duration_s, describe(package).size_bytes, psnr_db=psnr_db)


def encoder_digest(weights: Weights, precision: Precision = "float16") -> str:
    """Return the `digest_of` an encoder, on which a distilled model and its parent agree."""
    return _source(weights).digest(precision)


def _source(weights: Weights) -> EncoderSource:
    def exact() -> AudioEncoder:
        from simul_whisper.encoders.mlx import MlxEncoder

        return MlxEncoder(weights)

    return EncoderSource(weights.name, weights.dims, weights.tensors, lambda: weights.digest, exact)


def _of_whole_windows(conversion: Conversion) -> Conversion:
    """Return the conversion with shapes as a projector has them. Raises ConfigError where others were chosen."""
    if conversion.shapes == "range":
        raise ConfigError(
            "an encoder with a projector takes windows of 30 s only, got shapes = range; take fixed, or part = encoder"
        )
    return replace(conversion, shapes="fixed")


def _settings(conversion: Conversion) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(conversion).items()}


def _twin(package: Path, part: PartName, identity: dict[str, str]) -> Path | None:
    """Return another model's package beside this one, of the same encoder converted likewise; None: there is none."""
    for candidate in sorted(package.parent.glob(package_name("*", part))):
        if candidate == package or candidate.is_symlink():
            continue
        # A neighbour that cannot be read is none of our business.
        with suppress(SimulWhisperError):
            if identity.items() <= describe(candidate).metadata.items():
                return candidate
    return None


def _link(package: Path, twin: Path) -> Path | None:
    """Link to the twin, and to what was compiled from it; only macOS can compile. Returns what is compiled."""
    writing.clear(package)
    package.symlink_to(twin.name)
    compiled, compiled_twin = package.with_suffix(COMPILED_SUFFIX), twin.with_suffix(COMPILED_SUFFIX)
    if not compiled_twin.exists():
        return writing.compiled(package)
    compiled.symlink_to(compiled_twin.name)
    return compiled


def _write(
    path: Path, source: EncoderSource, conversion: Conversion, identity: dict[str, str], progress: ProgressHandler
) -> float | None:
    """Write the package to `path` and return the PSNR of compressed weights. Raises ConfigError for nonsense."""
    # coremltools takes seconds to import, so only when it is going to be used.
    from simul_whisper.coreml import encoder_program, layers
    from simul_whisper.coreml.quality import check_encoder, likeness_db

    metadata, psnr_db = identity | {"part": source.part}, None
    model = encoder_program.build(source.dims, source.tensors, conversion, progress, source.projection)
    try:
        if conversion.quantize != "none":
            package = Path(model.package_path)
            psnr_db = likeness_db(package, source.dims, source.exact, source.projection, progress)
            check_encoder(psnr_db, conversion.quantize)
            metadata["psnr_db"] = f"{psnr_db:.1f}"
        description = _PROJECTED if source.projection else _DESCRIPTION
        writing.save(model, path, description, metadata, source.name, source.weights_sha256())
    finally:
        layers.discard(model)
    return psnr_db
