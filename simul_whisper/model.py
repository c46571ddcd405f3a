"""A loaded model: frozen, and shared by all its listeners."""

import time
from dataclasses import dataclass

from simul_whisper.blas import BLAS
from simul_whisper.config import AlignAttConfig
from simul_whisper.decoder import MlxDecoder, TextDecoder
from simul_whisper.encoders import AudioEncoder
from simul_whisper.encoders.choice import choose_encoder
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.tokenizer import Tokenizer
from simul_whisper.weights import load_weights
from simul_whisper.weights.model import Dims


@dataclass(frozen=True)
class ModelInfo:
    """What runs where, for people and logs. load_s: seconds that loading took."""

    name: str
    encoder: str
    decoder: str
    blas: str
    load_s: float


@dataclass(frozen=True)
class Model:
    """Everything that listeners share. One thread may use it at a time."""

    dims: Dims
    tokenizer: Tokenizer
    encoder: AudioEncoder
    decoder: TextDecoder
    info: ModelInfo


def load_model(config: AlignAttConfig, progress: ProgressHandler = silent) -> Model:
    """Load the model that the config names. Raises ModelError or BackendError."""
    started = time.perf_counter()
    heads = tuple((layer, head) for layer, head in config.alignment_heads) or None
    weights = load_weights(config.model_path or config.model_name, alignment_heads=heads, progress=progress)
    tokenizer = Tokenizer(weights.tokenizer_file, weights.dims.n_vocab)
    encoder = choose_encoder(config, weights)
    decoder = MlxDecoder(weights, config.decoder_device)
    info = ModelInfo(weights.name, encoder.description, decoder.description, BLAS, time.perf_counter() - started)
    return Model(weights.dims, tokenizer, encoder, decoder, info)
