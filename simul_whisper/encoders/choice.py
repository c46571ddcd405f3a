"""Which encoder runs: the one asked for, or the fastest here; and what was chosen."""

import importlib.util

from simul_whisper.blas import mx
from simul_whisper.config import AlignAttConfig
from simul_whisper.encoders import AudioEncoder
from simul_whisper.errors import BackendError
from simul_whisper.weights.model import Weights


def choose_encoder(config: AlignAttConfig, weights: Weights) -> AudioEncoder:
    """Return the encoder that the config asks for. Raises BackendError when it cannot run here."""
    backend = config.encoder_backend
    if backend == "auto":
        backend = _fastest_backend()
    if backend == "coreml":
        raise BackendError("the coreml encoder is not part of this version; use encoder_backend = auto or mlx")
    if backend == "mlx":
        from simul_whisper.encoders.mlx import MlxEncoder

        return MlxEncoder(weights, config.decoder_device)
    if importlib.util.find_spec("ctranslate2") is None:
        raise BackendError(
            "ctranslate2 is not installed; pip install 'simul-whisper[cpu]', or use encoder_backend = mlx"
        )
    from simul_whisper.encoders.ctranslate2 import CTranslate2Encoder

    return CTranslate2Encoder(weights, config.encoder_compute_type)


def _fastest_backend() -> str:
    """MLX on Apple's GPUs; elsewhere CTranslate2, which is several times faster, when it is installed."""
    if mx.metal.is_available() or importlib.util.find_spec("ctranslate2") is None:
        return "mlx"
    return "ctranslate2"
