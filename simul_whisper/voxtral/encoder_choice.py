"""Which encoder a Voxtral model runs: encoder and projector in Core ML where that may be, else in MLX."""

from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.preparation import Kind
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.encoders import AudioEncoder, Features
from simul_whisper.encoders.choice import changing_encoder, requested_backend
from simul_whisper.encoders.fallback import FallbackEncoder, coreml_kind
from simul_whisper.errors import BackendError
from simul_whisper.fallback import BackendStatus
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.voxtral.checkpoint import VoxtralWeights
from simul_whisper.voxtral.conversion import encoder_source
from simul_whisper.voxtral.encoder import MlxVoxtralEncoder

_BACKENDS = ("auto", "coreml", "mlx")


def choose_voxtral_encoder(
    config: AlignAttConfig,
    weights: VoxtralWeights,
    progress: ProgressHandler = silent,
    runtime: CoreMLRuntime | None = None,
) -> FallbackEncoder:
    """Return the encoder that the config asks for; its features are vectors for the language model.

    Parameters and what becomes of Core ML that cannot run: as for Whisper's `choose_encoder`. Raises BackendError for a
    backend that has no such encoder.
    """
    requested = requested_backend(config)
    if requested not in _BACKENDS:
        raise BackendError(f"a Voxtral model has no encoder in {requested}; choose one of {', '.join(_BACKENDS)}")

    def make() -> AudioEncoder:
        return MlxVoxtralEncoder(weights, config.decoder_device)

    def kind() -> Kind[AudioEncoder, Features]:
        return voxtral_kind(weights, config.coreml_compute_units)

    status = BackendStatus("mlx", requested)
    return changing_encoder(config, status, make, kind, weights.directory, progress, runtime)


def voxtral_kind(weights: VoxtralWeights, compute_units: str) -> Kind[AudioEncoder, Features]:
    """Return how encoder and projector of a model run in Core ML."""
    source = encoder_source(weights)
    return coreml_kind(source.part, source.digest, source.dims, compute_units, source.projection)
