"""A Voxtral model as the engine has models: encoder and projector, language model and tokenizer behind its seams."""

from dataclasses import dataclass
from pathlib import Path

from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.runtime import CoreMLRuntime
from simul_whisper.decoders.fallback import FallbackDecoder
from simul_whisper.encoders.fallback import FallbackEncoder
from simul_whisper.errors import BackendError, WeightsError
from simul_whisper.fallback import BackendStatus
from simul_whisper.parameters import resolved_device
from simul_whisper.progress import Progress, ProgressHandler, Stage
from simul_whisper.voxtral.checkpoint import VoxtralWeights, open_voxtral
from simul_whisper.voxtral.decoder import VoxtralDecoder
from simul_whisper.voxtral.encoder_choice import choose_voxtral_encoder
from simul_whisper.voxtral.heads import known_heads
from simul_whisper.voxtral.language import MlxLanguage
from simul_whisper.voxtral.memory import check_memory, loaded_bytes
from simul_whisper.voxtral.tekken import TekkenTokenizer
from simul_whisper.voxtral.tokenizer import VoxtralTokenizer
from simul_whisper.weights.model import Dims

_MLX = "mlx"
_LOADING_STEPS = 3
# Of a number and its part of the scale and bias of 64.
_PACKED_BYTES = {"int8": 1.0625, "int4": 0.5625}
_WHOLE, _N_MELS = 1500, (80, 128)
# Positions of text that a window needs beside its audio: what stands around it, and its transcript.
_LEAST_TEXT = 128


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
    check_memory(name, _needed_bytes(config, weights))
    tokenizer = VoxtralTokenizer(TekkenTokenizer(weights.tokenizer_file, weights.dims.n_vocab))
    heads = known_heads(directory, weights.dims, [(layer, head) for layer, head in config.alignment_heads])
    progress(Progress(Stage.LOADING, name, 1, _LOADING_STEPS))
    encoder = choose_voxtral_encoder(config, weights, progress, runtime)
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


def _check_backends(config: AlignAttConfig) -> None:
    """Raise BackendError for what cannot run a Voxtral."""
    if config.decoder_backend not in ("auto", _MLX):
        raise BackendError(
            f"got decoder_backend = {config.decoder_backend}, but Voxtral's language model runs in MLX alone; "
            "use auto or mlx"
        )


def _needed_bytes(config: AlignAttConfig, weights: VoxtralWeights) -> int:
    """Return what the weights take in memory, all of them in MLX."""
    is_gpu = resolved_device(config.decoder_device) == "gpu"
    plain_bytes = 2.0 if is_gpu else 4.0
    quantization = "int8" if config.quantization == "fastest" and is_gpu else config.quantization
    language_bytes = _PACKED_BYTES.get(quantization, plain_bytes)
    heard = sum(loaded_bytes(weights, start, plain_bytes, unpacks=True) for start in ("encoder.", "projector."))
    return heard + loaded_bytes(weights, "language.", language_bytes, unpacks=quantization == "float16")


def _check_windows(weights: VoxtralWeights) -> None:
    """Raise WeightsError unless the model hears windows of 30 s, as all that is known of Voxtral does, and has room for
    the text of one.
    """
    dims = weights.dims
    if dims.n_audio_ctx != _WHOLE or dims.n_mels not in _N_MELS:
        raise WeightsError(
            f"{weights.directory}: got windows of {dims.n_audio_ctx} frames of {dims.n_mels} mel bands, "
            f"expected {_WHOLE} of {' or '.join(map(str, _N_MELS))}"
        )
    if dims.n_text_ctx < dims.n_audio_tokens + _LEAST_TEXT:
        raise WeightsError(
            f"{weights.directory}: reads {dims.n_text_ctx} positions at most, of which 30 s of audio are "
            f"{dims.n_audio_tokens}; expected room for {_LEAST_TEXT} of text"
        )
