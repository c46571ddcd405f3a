"""What runs the embedded models is made once in a process, whoever loads a model how often.

A model is loaded some two hundred times in all tests, in most of them to see what is chosen. Reading its vocabulary and
converting its weights for a backend takes most of a second each time; what comes of it never changes.
"""

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simul_whisper.decoders.choice
import simul_whisper.encoders.choice
import simul_whisper.model
from simul_whisper import AlignAttConfig
from simul_whisper.weights import Weights, model_directory
from simul_whisper.whisper_tokenizer import WhisperTokenizer

_EMBEDDED = {model_directory(name).resolve() for name in ("tiny.en", "base")}
# Of the settings, those that an encoder or a decoder is made by.
_SETTINGS = ("encoder_compute_type", "decoder_device", "quantization", "fallback_to_float16")

Made = dict[tuple[Any, ...], Any]
Maker = Callable[[str, AlignAttConfig, Weights], Any]


def share(patch: pytest.MonkeyPatch) -> None:
    """Make tokenizers, encoders and decoders of the embedded models once, until the patch is undone."""
    made: Made = {}
    patch.setattr(simul_whisper.model, "WhisperTokenizer", _tokenizer(made))
    for module, name in ((simul_whisper.encoders.choice, "_encoder"), (simul_whisper.decoders.choice, "_decoder")):
        patch.setattr(module, name, _once(made, name, getattr(module, name)))


def _tokenizer(made: Made) -> Callable[[Path, int], WhisperTokenizer]:
    def tokenizer(file: Path, n_vocab: int) -> WhisperTokenizer:
        # Many tests copy it.
        key = (hashlib.sha256(file.read_bytes()).digest(), n_vocab) if file.is_file() else ()
        if key not in made:
            made[key] = WhisperTokenizer(file, n_vocab)
        found: WhisperTokenizer = made[key]
        return found

    return tokenizer


def _once(made: Made, part: str, make: Maker) -> Maker:
    def one(backend: str, config: AlignAttConfig, weights: Weights) -> Any:
        if weights.directory.resolve() not in _EMBEDDED:
            return make(backend, config, weights)
        # Some tests take packages away.
        can_decode = importlib.util.find_spec("onnxruntime") is not None
        settings = [getattr(config, name) for name in _SETTINGS]
        key = (part, backend, weights.directory.resolve(), weights.alignment_heads, can_decode, *settings)
        if key not in made:
            made[key] = make(backend, config, weights)
        return made[key]

    return one
