"""Streaming speech recognition and translation with Whisper and the AlignAtt policy: the public names.

Names that need the engine bring it in when they are first asked for: clients and protocols use the others without it.
"""

# First, because NumPy reads it.
from importlib import import_module
from typing import TYPE_CHECKING, Any

import simul_whisper.blas_threads  # noqa: F401  # isort: split
from simul_whisper.audio import SAMPLE_RATE, as_s16, as_samples, from_s16
from simul_whisper.config import (
    PRESETS,
    AlignAttConfig,
    LastWord,
    SimulWhisperConfig,
    checked_targets,
    read_terms,
    read_toml,
)
from simul_whisper.errors import (
    AudioFormatError,
    BackendError,
    ConfigError,
    CoreMLInferenceError,
    CoreMLNotLoadedError,
    DecoderError,
    DecoderNotLoadedError,
    DownloadTimeoutError,
    EncoderError,
    EncoderNotLoadedError,
    ModelError,
    ModelNotFoundError,
    NeuralEngineNotAvailableError,
    ShapeConversionError,
    SimulWhisperError,
    TranslationError,
    UnsupportedSampleRateError,
    VocoderError,
    VocoderNotLoadedError,
    VoiceError,
    WeightsError,
)
from simul_whisper.languages import language_code, language_names
from simul_whisper.machine import available_memory, give_back_memory, n_cpus, resident_memory
from simul_whisper.options import Option, check_options, checked_value, from_mapping, option, option_of
from simul_whisper.pieces import Answer, Ask, Begin, Encode, Pieces, Read, finished
from simul_whisper.progress import Progress, ProgressHandler, Stage
from simul_whisper.timing import Timing
from simul_whisper.translators import Sentence, TargetToken, Translator
from simul_whisper.translators.choice import open_translator
from simul_whisper.translators.config import TranslationConfig
from simul_whisper.translators.sentences import ends_before, ends_for_certain
from simul_whisper.vocoders import AudioVocoder
from simul_whisper.voices import Voice
from simul_whisper.voices.config import SpeechConfig
from simul_whisper.word import Word

if TYPE_CHECKING:
    from simul_whisper.alignatt import StopReason
    from simul_whisper.blas import release_thread
    from simul_whisper.decoders import Step, TextDecoder
    from simul_whisper.encoders import AudioEncoder, Features
    from simul_whisper.fallback import BackendStatus
    from simul_whisper.mel import Mel
    from simul_whisper.model import Model, ModelInfo, load_model
    from simul_whisper.transcript import BackendChange, EncoderChange, Update
    from simul_whisper.translators.catalog import TranslatorEntry, list_translators, translator_directory
    from simul_whisper.translators.simultaneous import SimultaneousTranslation, Translated, TranslationRequest
    from simul_whisper.voices.catalog import VoiceEntry, list_voices
    from simul_whisper.voices.choice import Voices, open_voices
    from simul_whisper.voices.fetch import fetch_voice
    from simul_whisper.voices.spoken_text import speakable
    from simul_whisper.voxtral.generation import Ending, Generation, Written
    from simul_whisper.weights import ModelEntry, ModelFiles, list_models, model_directory, model_files
    from simul_whisper.whisper import PaddedAlignAttWhisper

_MODULES = {
    "AudioEncoder": "encoders",
    "BackendChange": "transcript",
    "BackendStatus": "fallback",
    "EncoderChange": "transcript",
    "Ending": "voxtral.generation",
    "Features": "encoders",
    "Generation": "voxtral.generation",
    "Mel": "mel",
    "Model": "model",
    "ModelEntry": "weights",
    "ModelFiles": "weights",
    "ModelInfo": "model",
    "PaddedAlignAttWhisper": "whisper",
    "SimultaneousTranslation": "translators.simultaneous",
    "Step": "decoders",
    "StopReason": "alignatt",
    "TextDecoder": "decoders",
    "Translated": "translators.simultaneous",
    "TranslationRequest": "translators.simultaneous",
    "TranslatorEntry": "translators.catalog",
    "Update": "transcript",
    "VoiceEntry": "voices.catalog",
    "Voices": "voices.choice",
    "Written": "voxtral.generation",
    "fetch_voice": "voices.fetch",
    "list_models": "weights",
    "list_translators": "translators.catalog",
    "list_voices": "voices.catalog",
    "load_model": "model",
    "model_directory": "weights",
    "model_files": "weights",
    "open_voices": "voices.choice",
    "release_thread": "blas",
    "speakable": "voices.spoken_text",
    "translator_directory": "translators.catalog",
}
"""Where the names stand that bring in the engine."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


__all__ = [
    "PRESETS",
    "SAMPLE_RATE",
    "AlignAttConfig",
    "Answer",
    "Ask",
    "AudioEncoder",
    "AudioFormatError",
    "AudioVocoder",
    "BackendChange",
    "BackendError",
    "BackendStatus",
    "Begin",
    "ConfigError",
    "CoreMLInferenceError",
    "CoreMLNotLoadedError",
    "DecoderError",
    "DecoderNotLoadedError",
    "DownloadTimeoutError",
    "Encode",
    "EncoderChange",
    "EncoderError",
    "EncoderNotLoadedError",
    "Ending",
    "Features",
    "Generation",
    "LastWord",
    "Mel",
    "Model",
    "ModelEntry",
    "ModelError",
    "ModelFiles",
    "ModelInfo",
    "ModelNotFoundError",
    "NeuralEngineNotAvailableError",
    "Option",
    "PaddedAlignAttWhisper",
    "Pieces",
    "Progress",
    "ProgressHandler",
    "Read",
    "Sentence",
    "ShapeConversionError",
    "SimulWhisperConfig",
    "SimulWhisperError",
    "SimultaneousTranslation",
    "SpeechConfig",
    "Stage",
    "Step",
    "StopReason",
    "TargetToken",
    "TextDecoder",
    "Timing",
    "Translated",
    "TranslationConfig",
    "TranslationError",
    "TranslationRequest",
    "Translator",
    "TranslatorEntry",
    "UnsupportedSampleRateError",
    "Update",
    "VocoderError",
    "VocoderNotLoadedError",
    "Voice",
    "VoiceEntry",
    "VoiceError",
    "Voices",
    "WeightsError",
    "Word",
    "Written",
    "as_s16",
    "as_samples",
    "available_memory",
    "check_options",
    "checked_targets",
    "checked_value",
    "ends_before",
    "ends_for_certain",
    "fetch_voice",
    "finished",
    "from_mapping",
    "from_s16",
    "give_back_memory",
    "language_code",
    "language_names",
    "list_models",
    "list_translators",
    "list_voices",
    "load_model",
    "model_directory",
    "model_files",
    "n_cpus",
    "open_translator",
    "open_voices",
    "option",
    "option_of",
    "read_terms",
    "read_toml",
    "release_thread",
    "resident_memory",
    "speakable",
    "translator_directory",
]
