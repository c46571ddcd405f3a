"""Voxtral's encoder and projector as one Core ML package, or its encoder alone; and whatever model it is, converted.

The language model stays in MLX. The package gives a vector for each of its positions of audio.
"""

from pathlib import Path
from typing import Literal, get_args

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.interface import Projection
from simul_whisper.coreml.locate import check_name
from simul_whisper.coreml.package import EncoderSource, Part, check, convert_encoder, convert_model
from simul_whisper.coreml.writing import Converted
from simul_whisper.encoders.mlx import MlxEncoder
from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import one_line
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.voxtral.checkpoint import VoxtralWeights, open_voxtral
from simul_whisper.voxtral.dims import VoxtralDims
from simul_whisper.voxtral.encoder import MlxVoxtralEncoder
from simul_whisper.voxtral.expanded import ExpandedTensors
from simul_whisper.weights import Head, Weights
from simul_whisper.weights.family import Family, family_of
from simul_whisper.weights.library import model_name, model_source

VoxtralPart = Literal["encoder", "encoder+projector"]


def convert_any(
    name_or_path: str,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
    *,
    part: Part | VoxtralPart | None = None,
    alignment_heads: tuple[Head, ...] | None = None,
    name: str | None = None,
) -> tuple[Converted, ...]:
    """Convert a Whisper or a voice as `convert_model` does, or a Voxtral as `convert_voxtral` does.

    part: None for a Voxtral's encoder and projector, or a Whisper's encoder. Raises what these raise, and ConfigError
    for a part that the model has not.
    """
    of_whisper: Part = "encoder" if part is None or part == "encoder+projector" else part
    check(conversion, of_whisper, alignment_heads, name)
    weights = None if part == "vocoder" else find_voxtral(name_or_path, progress)
    if weights:
        chosen = voxtral_part(part or "encoder+projector")
        return (convert_voxtral(weights, output_dir, conversion, progress, part=chosen, name=name),)
    if part == "encoder+projector":
        raise ConfigError(f"{name_or_path}: this is no Voxtral model, so it has no projector; choose another part")
    return convert_model(
        name_or_path, output_dir, conversion, progress, part=of_whisper, alignment_heads=alignment_heads, name=name
    )


def find_voxtral(name_or_path: str, progress: ProgressHandler = silent) -> VoxtralWeights | None:
    """Open the Voxtral model that this is, after downloading it where need be; None for another model.

    Raises ModelNotFoundError where there is no model, WeightsError for a Voxtral that cannot be used.
    """
    source = model_source(name_or_path, progress=progress)
    if source.is_dir() and family_of(source) in (Family.VOXTRAL, Family.VOXTRAL_REALTIME):
        return open_voxtral(model_name(name_or_path, source), source)
    return None


def voxtral_part(part: str) -> VoxtralPart:
    """Return the part of a Voxtral model by its name. Raises ConfigError for one that cannot be converted."""
    known: tuple[VoxtralPart, ...] = get_args(VoxtralPart)
    for each in known:
        if each == part:
            return each
    raise ConfigError(
        f"got part = {one_line(part)} of a Voxtral model, expected {' or '.join(known)}; its language model runs in MLX"
    )


def convert_voxtral(
    weights: VoxtralWeights,
    output_dir: Path,
    conversion: Conversion = Conversion(),  # noqa: B008
    progress: ProgressHandler = silent,
    *,
    part: VoxtralPart = "encoder+projector",
    name: str | None = None,
) -> Converted:
    """Write a part of the model into `output_dir` as a Core ML package, or link to one there that computes the same.

    name: what the package calls the model; None for its own name. With the projector windows are of 30 s. Raises
    ConfigError for a name that no file can have, and what `convert_encoder` raises.
    """
    if name is not None:
        check_name(name)
    return convert_encoder(encoder_source(weights, part), output_dir, conversion, progress, name or "")


def encoder_source(weights: VoxtralWeights, part: VoxtralPart = "encoder+projector") -> EncoderSource:
    """Return what a package of this part is made of, and told apart by."""
    name, dims = weights.name, weights.dims
    if part == "encoder":
        alone = Weights(
            name, dims.whisper, ExpandedTensors(weights, ("encoder",)), (), weights.tokenizer_file, weights.files
        )
        return EncoderSource(name, alone.dims, alone.tensors, lambda: weights.digest, lambda: MlxEncoder(alone, "cpu"))
    return EncoderSource(
        name,
        dims.whisper,
        ExpandedTensors(weights, ("encoder", "projector")),
        lambda: weights.digest,
        lambda: MlxVoxtralEncoder(weights, "cpu"),
        projection_of(dims),
    )


def projection_of(dims: VoxtralDims) -> Projection:
    """Return what is behind the encoder."""
    return Projection(dims.downsample, dims.n_text_state)
