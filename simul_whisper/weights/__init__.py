"""A model name or path -> dimensions, tensors, alignment heads, tokenizer: the public names."""

from simul_whisper.weights.library import (
    ModelEntry,
    ModelFiles,
    ModelKind,
    known_models,
    list_models,
    load_weights,
    model_directory,
    model_files,
)
from simul_whisper.weights.model import Dims, Head, Weights, expected_shapes

__all__ = [
    "Dims",
    "Head",
    "ModelEntry",
    "ModelFiles",
    "ModelKind",
    "Weights",
    "expected_shapes",
    "known_models",
    "list_models",
    "load_weights",
    "model_directory",
    "model_files",
]
