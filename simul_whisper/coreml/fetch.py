"""A published encoder for a model, from the hub, and whether it is the model's own."""

from dataclasses import dataclass
from pathlib import Path

from simul_whisper.coreml.comparison import compare_encoders
from simul_whisper.coreml.locate import fetched_package, has_known_name, is_on_hub
from simul_whisper.errors import EncoderNotLoadedError, ModelNotFoundError
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.weights import ModelKind, Weights, list_models, load_weights
from simul_whisper.weights.hub import ANSWER_TIMEOUT_S, cached_directory
from simul_whisper.weights.names import full_name

_LATER = "the first answer will be, when it is used"


@dataclass(frozen=True)
class Fetched:
    """path: the package. comparison: what was found of the model's weights in it, in a sentence."""

    path: Path
    comparison: str


def fetch_encoder(
    name_or_path: str, progress: ProgressHandler = silent, timeout_s: float = ANSWER_TIMEOUT_S
) -> Fetched:
    """Download the encoder of a model, or of the one that it was distilled from, and compare it with its weights.

    name_or_path: as for `load_weights`; a directory is one of the models that the hub knows by its name. Only weights
    that are here are compared. timeout_s: how long the hub may take to answer. Raises ModelNotFoundError where the hub
    has none, EncoderNotLoadedError when it has another encoder than the model's, and WeightsError.
    """
    is_here = Path(name_or_path).expanduser().exists()
    may_be_there = has_known_name(name_or_path) if is_here else is_on_hub(name_or_path)
    found = fetched_package(name_or_path, progress, timeout_s=timeout_s) if may_be_there else None
    if found is None:
        raise ModelNotFoundError(
            f"{name_or_path}: the hub has no Core ML encoder of it; make one with: simul-whisper coreml convert MODEL"
        )
    weights = _weights_here(name_or_path)
    return Fetched(found, _compared(found, name_or_path, weights))


def _compared(package: Path, model: str, weights: Weights | None) -> str:
    """Return what comes of the comparison. Raises EncoderNotLoadedError."""
    if weights is None or weights.quantized:
        why = "its weights are not here" if weights is None else "its weights here have fewer bits"
        return f"not compared with {model}: {why}; {_LATER}"
    found = compare_encoders(package, weights)
    if found.are_same:
        return f"all {found.n_found} of {found.n_matrices} matrices are those of {model}"
    if found.can_tell:
        raise EncoderNotLoadedError(
            f"{package}: the encoder of another model than {model}: {found.n_found} of {found.n_matrices} matrices are "
            "its own; make one with: simul-whisper coreml convert MODEL"
        )
    return f"not compared with {model}: the package has fewer bits; {_LATER}"


def _weights_here(name_or_path: str) -> Weights | None:
    """Return the weights of a model that need not be downloaded; None for others."""
    here = {entry.name for entry in list_models() if entry.kind is not ModelKind.KNOWN}
    is_id = "/" in name_or_path and cached_directory(name_or_path) is not None
    if full_name(name_or_path) in here or is_id or Path(name_or_path).expanduser().exists():
        # Alignment heads do not concern the encoder.
        return load_weights(name_or_path, alignment_heads=((0, 0),))
    return None
