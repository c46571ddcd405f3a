"""A Voxtral model as the engine has models: encoder and projector, language model and tokenizer behind its seams."""

from dataclasses import dataclass
from pathlib import Path

from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.decoders.fallback import FallbackDecoder
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.errors import BackendError, WeightsError
from simul_whisper.fallback import BackendStatus
from simul_whisper.progress import Progress, ProgressHandler, Stage
from simul_whisper.voxtral.checkpoint import VoxtralWeights, open_voxtral
from simul_whisper.voxtral.decoder import VoxtralDecoder
from simul_whisper.voxtral.encoder import MlxVoxtralEncoder
from simul_whisper.voxtral.heads import known_heads
from simul_whisper.voxtral.language import MlxLanguage
from simul_whisper.voxtral.tekken import TekkenTokenizer
from simul_whisper.voxtral.tokenizer import VoxtralTokenizer
from simul_whisper.weights.model import Dims

_MLX = "mlx"
_LOADING_STEPS = 3
_WHOLE, _N_MELS = 1500, (80, 128)


@dataclass(frozen=True)
class Parts:
    """What a model is made of. dims: the numbers that it shares with Whisper."""

    dims: Dims
    tokenizer: VoxtralTokenizer
    encoder: FallbackEncoder
    decoder: FallbackDecoder


def load_parts(
    config: AlignAttConfig, name: str, directory: Path, progress: ProgressHandler, runtime: CoreMLRuntime | None
) -> Parts:
    """Load the model in a directory, as the config asks for it. Raises ModelError or BackendError.

    runtime: what runs Core ML; None where there is no Core ML.
    """
    _check_backends(config)
    weights = open_voxtral(name, directory)
    _check_windows(weights)
    tokenizer = VoxtralTokenizer(TekkenTokenizer(weights.tokenizer_file, weights.dims.n_vocab))
    heads = known_heads(directory, weights.dims, [(layer, head) for layer, head in config.alignment_heads])
    progress(Progress(Stage.LOADING, name, 1, _LOADING_STEPS))
    encoder = _encoder(config, weights, progress, runtime)
    progress(Progress(Stage.LOADING, name, 2, _LOADING_STEPS))
    language = MlxLanguage(
        weights,
        config.decoder_device,
        config.quantization,
        heads,
        fallback_to_float16=config.fallback_to_float16,
    )
    spoken = VoxtralDecoder(language, tokenizer, n_heads=len(heads))
    decoder = FallbackDecoder(BackendStatus(_MLX, config.decoder_backend), lambda: spoken)
    decoder.load()
    progress(Progress(Stage.LOADING, name, _LOADING_STEPS, _LOADING_STEPS))
    return Parts(weights.dims.whisper, tokenizer, encoder, decoder)


def _encoder(
    config: AlignAttConfig, weights: VoxtralWeights, progress: ProgressHandler, runtime: CoreMLRuntime | None
) -> FallbackEncoder:
    encoder = FallbackEncoder(BackendStatus(_MLX), lambda: MlxVoxtralEncoder(weights, config.decoder_device))
    encoder.load()
    return encoder


def _check_backends(config: AlignAttConfig) -> None:
    """Raise BackendError for what cannot run a Voxtral."""
    if config.decoder_backend not in ("auto", _MLX):
        raise BackendError(
            f"got decoder_backend = {config.decoder_backend}, but Voxtral's language model runs in MLX alone; "
            "use auto or mlx"
        )


def _check_windows(weights: VoxtralWeights) -> None:
    """Raise WeightsError unless the model hears windows of 30 s, as all that is known of Voxtral does."""
    dims = weights.dims
    if dims.n_audio_ctx != _WHOLE or dims.n_mels not in _N_MELS:
        raise WeightsError(
            f"{weights.directory}: got windows of {dims.n_audio_ctx} frames of {dims.n_mels} mel bands, "
            f"expected {_WHOLE} of {' or '.join(map(str, _N_MELS))}"
        )
