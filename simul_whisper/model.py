"""A loaded model: frozen, and shared by all its listeners."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from simul_whisper.answering import answer, answer_all
from simul_whisper.blas import BLAS
from simul_whisper.config import AlignAttConfig
from simul_whisper.coreml.runtime import CoreMLRuntime, default_runtime
from simul_whisper.decoders import TextDecoder
from simul_whisper.decoders.choice import choose_decoder
from simul_whisper.decoders.fallback import FallbackDecoder, Probe, probe_text
from simul_whisper.encoders import AudioEncoder
from simul_whisper.encoders.choice import choose_encoder
from simul_whisper.encoders.fallback import FallbackEncoder, probe
from simul_whisper.errors import BackendError, ModelError
from simul_whisper.fallback import BackendStatus
from simul_whisper.machine import give_back_memory
from simul_whisper.pieces import Answer, Ask
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.tokenizer import Tokenizer
from simul_whisper.weights.directory import load_directory
from simul_whisper.weights.family import Family, family_of
from simul_whisper.weights.library import model_name, model_source
from simul_whisper.weights.model import Dims, check_whole
from simul_whisper.whisper_tokenizer import WhisperTokenizer

if TYPE_CHECKING:
    from simul_whisper.voxtral.generation import Generation

# The backend of an encoder or a decoder that the program brought itself.
_OWN = "own"
_NAMES = {"coreml": "Core ML", "mlx": "MLX", "ctranslate2": "CTranslate2", "onnx": "ONNX Runtime"}
# Weights, encoder, decoder.
_LOADING_STEPS = 3


@dataclass(frozen=True)
class ModelInfo:
    """What runs where, and why, for people and logs.

    encoder, decoder: descriptions. encoder_backend: mlx, ctranslate2 or coreml; requested_backend: the setting.
    did_fallback: Core ML was asked for, or would have been taken, and another encoder runs; fallback_reason: why.
    ane_compiled: Core ML runs, compiled for this device. compute_units, package_digest: of the Core ML model that runs.
    decoder_...: the same of the decoder, whose backend is mlx, onnx or coreml.
    load_duration_s: seconds that loading took. languages: codes of those that the model can transcribe.
    """

    name: str
    encoder: str
    decoder: str
    blas: str
    load_duration_s: float
    encoder_backend: str
    requested_backend: str
    did_fallback: bool
    fallback_reason: str
    ane_compiled: bool
    compute_units: str
    package_digest: str
    decoder_backend: str
    decoder_requested_backend: str
    decoder_did_fallback: bool
    decoder_fallback_reason: str
    decoder_ane_compiled: bool
    decoder_compute_units: str
    decoder_package_digest: str
    languages: tuple[str, ...]

    @property
    def pipeline(self) -> str:
        """What runs encoder and decoder, in a few words: "hybrid: encoder in Core ML, decoder in MLX"."""
        encoder, decoder = (_NAMES.get(each, each) for each in (self.encoder_backend, self.decoder_backend))
        if encoder == decoder:
            return f"{encoder} (encoder, decoder)" if self.encoder_backend == "coreml" else encoder
        is_hybrid = "coreml" in (self.encoder_backend, self.decoder_backend)
        return f"{'hybrid: ' if is_hybrid else ''}encoder in {encoder}, decoder in {decoder}"


@dataclass(frozen=True)
class Model:
    """Everything that listeners share. One thread may use it at a time."""

    name: str
    dims: Dims
    tokenizer: Tokenizer
    encoder: FallbackEncoder
    decoder: FallbackDecoder
    load_duration_s: float

    @property
    def info(self) -> ModelInfo:
        """What runs where at present: it may change."""
        status, of_decoder = self.encoder.status, self.decoder.status
        return ModelInfo(
            name=self.name,
            encoder=self.encoder.description,
            decoder=self.decoder.description,
            blas=BLAS,
            load_duration_s=self.load_duration_s,
            encoder_backend=status.backend,
            requested_backend=status.requested,
            did_fallback=status.did_fallback,
            fallback_reason=status.reason,
            ane_compiled=status.ane_compiled,
            compute_units=status.compute_units,
            package_digest=status.package_digest,
            decoder_backend=of_decoder.backend,
            decoder_requested_backend=of_decoder.requested,
            decoder_did_fallback=of_decoder.did_fallback,
            decoder_fallback_reason=of_decoder.reason,
            decoder_ane_compiled=of_decoder.ane_compiled,
            decoder_compute_units=of_decoder.compute_units,
            decoder_package_digest=of_decoder.package_digest,
            languages=self.tokenizer.languages if self.tokenizer.multilingual else ("en",),
        )

    def answer(self, ask: Ask) -> Answer:
        """Do what the engine asks for. Raises EncoderError or DecoderError."""
        return answer(self.encoder, self.decoder, ask)

    def answer_all(self, asks: Sequence[Ask]) -> list[Answer | Exception]:
        """Do what several listeners ask for, together where that pays; each has its own answer, or its own error."""
        return answer_all(self.encoder, self.decoder, asks)

    @property
    def most_together(self) -> int:
        """Of how many listeners it pays, at present, to answer together what they ask for; 1: of none."""
        return max(self.encoder.most_together, self.decoder.most_together)

    def using(self, encoder: AudioEncoder | None = None, decoder: TextDecoder | None = None) -> "Model":
        """Return this model with an encoder or a decoder of your own in place of the one loaded."""
        model = self
        if encoder is not None:
            own_encoder = encoder
            model = replace(model, encoder=FallbackEncoder(BackendStatus(_OWN, _OWN), lambda: own_encoder))
            model.encoder.load()
        if decoder is not None:
            own_decoder = decoder
            model = replace(model, decoder=FallbackDecoder(BackendStatus(_OWN, _OWN), lambda: own_decoder))
            model.decoder.load()
        return model

    def generation(self) -> "Generation":
        """Return what writes about whole recordings, such as answers to questions. Raises ModelError: a Voxtral can."""
        decoder = self.decoder.load()
        # Where a Voxtral cannot be used, this is none.
        with suppress(ImportError):
            from simul_whisper.voxtral.decoder import VoxtralDecoder
            from simul_whisper.voxtral.generation import Generation

            if isinstance(decoder, VoxtralDecoder):
                return Generation(self.encoder, decoder.language, decoder.tokenizer)
        raise ModelError(f"{self.name} answers no questions; take a Voxtral, such as mistralai/Voxtral-Mini-3B-2507")

    def warmup(self, cancelled: Event | None = None) -> ModelInfo:
        """Get everything ready for the first window: Core ML where it may run, and one window through the model.

        Compilation for the Neural Engine, minutes at first, goes on in a child process. Set `cancelled` from another
        thread to stop it: this returns within a second, and another encoder and decoder go on.
        """
        self.encoder.warm_up(cancelled)
        self.decoder.warm_up(cancelled)
        features = self.encoder.encode(probe(self.dims.n_mels))
        self.decoder.step(self.decoder.begin(features), [self.tokenizer.sot_sequence("en", "transcribe")])
        return self.info


def load_model(
    config: AlignAttConfig, progress: ProgressHandler = silent, coreml_runtime: CoreMLRuntime | None = None
) -> Model:
    """Load the model that the config names. Raises ModelError or BackendError.

    progress: may be called from other threads, and after this has returned, while Core ML gets ready in the background.
    coreml_runtime: what runs Core ML models; None for the system's own, where there is one.
    """
    started = time.perf_counter()
    heads = tuple((layer, head) for layer, head in config.alignment_heads) or None
    called = config.model_path or config.model_name
    source = model_source(called, progress=progress, timeout_s=config.download_timeout)
    runtime = coreml_runtime or default_runtime()
    if source.is_dir() and family_of(source) in (Family.VOXTRAL, Family.VOXTRAL_REALTIME):
        return _load_voxtral(config, model_name(called, source), source, progress, runtime, started)
    weights = load_directory(model_name(called, source), source, heads)
    progress(Progress(Stage.LOADING, weights.name, 1, _LOADING_STEPS))
    name, dims = weights.name, weights.dims
    check_whole(name, dims)
    tokenizer = WhisperTokenizer(weights.tokenizer_file, weights.dims.n_vocab)
    encoder = choose_encoder(config, weights, progress, runtime)
    progress(Progress(Stage.LOADING, weights.name, 2, _LOADING_STEPS))
    decoder = choose_decoder(config, weights, lambda: _probe(encoder, tokenizer, dims.n_mels), progress, runtime)
    progress(Progress(Stage.LOADING, weights.name, _LOADING_STEPS, _LOADING_STEPS))
    del weights
    give_back_memory()
    load_duration_s = time.perf_counter() - started
    return Model(name, dims, tokenizer, encoder, decoder, load_duration_s)


def _load_voxtral(
    config: AlignAttConfig,
    name: str,
    directory: Path,
    progress: ProgressHandler,
    runtime: CoreMLRuntime | None,
    started: float,
) -> Model:
    try:
        from simul_whisper.voxtral.choice import load_parts
    except ImportError as error:
        raise BackendError(f"Voxtral cannot be used: {error}; pip install 'simul-whisper[voxtral]'") from error

    parts = load_parts(config, name, directory, progress, runtime)
    give_back_memory()
    load_duration_s = time.perf_counter() - started
    return Model(name, parts.dims, parts.tokenizer, parts.encoder, parts.decoder, load_duration_s)


def _probe(encoder: AudioEncoder, tokenizer: Tokenizer, n_mels: int) -> Probe:
    """Return what a Core ML decoder is tried with."""
    return Probe(encoder.encode(probe(n_mels)), probe_text(tokenizer))
