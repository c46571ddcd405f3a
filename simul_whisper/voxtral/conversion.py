"""Voxtral's encoder and projector as one Core ML package, or its encoder alone.

The language model stays in MLX. The package gives a vector for each of its positions of audio.
"""

from pathlib import Path
from typing import Literal, get_args

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.interface import Projection
from simul_whisper.coreml.locate import check_name
from simul_whisper.coreml.package import EncoderSource, convert_encoder
from simul_whisper.coreml.writing import Converted
from simul_whisper.encoders import AudioEncoder
from simul_whisper.errors import ConfigError
from simul_whisper.foreign_files import shown
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.voxtral.checkpoint import VoxtralWeights
from simul_whisper.voxtral.dims import VoxtralDims
from simul_whisper.voxtral.expanded import ExpandedTensors
from simul_whisper.weights.model import Weights

VoxtralPart = Literal["encoder", "encoder+projector"]


def check_part(part: str) -> VoxtralPart:
    """Return the part. Raises ConfigError for one that cannot be converted."""
    for known in get_args(VoxtralPart):
        if part == known:
            found: VoxtralPart = known
            return found
    raise ConfigError(
        f"got part = {shown(part)} of a Voxtral model, expected {' or '.join(get_args(VoxtralPart))}; "
        "its language model runs in MLX"
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
        return EncoderSource(name, alone.dims, alone.tensors, lambda: weights.digest, lambda: _exact_encoder(alone))
    return EncoderSource(
        name,
        dims.whisper,
        ExpandedTensors(weights, ("encoder", "projector")),
        lambda: weights.digest,
        lambda: _exact(weights),
        projection_of(dims),
    )


def projection_of(dims: VoxtralDims) -> Projection:
    """Return what is behind the encoder."""
    return Projection(dims.downsample, dims.n_text_state)


def _exact_encoder(weights: Weights) -> AudioEncoder:
    from simul_whisper.encoders.mlx import MlxEncoder

    return MlxEncoder(weights)


def _exact(weights: VoxtralWeights) -> AudioEncoder:
    from simul_whisper.voxtral.encoder import MlxVoxtralEncoder

    return MlxVoxtralEncoder(weights)
