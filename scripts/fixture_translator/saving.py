"""The network in CTranslate2's format, without PyTorch: its specification is filled with the weights as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import TransformerSpec

from scripts.fixture_translator.examples import END
from scripts.fixture_translator.network import Dims, Parameters, positions


def save(directory: Path, dims: Dims, vocabulary: Sequence[str], parameters: Parameters, adds_end: bool = True) -> None:
    """Write a network in int8, with its config and its vocabulary.

    adds_end: whether CTranslate2 shall end the source by itself, or whoever calls it does.
    """
    spec = TransformerSpec.from_config(
        (dims.n_encoder_layers, dims.n_decoder_layers), dims.n_heads, alignment_layer=-1, alignment_heads=1
    )
    weights = {name: np.array(value) for name, value in parameters.items()}
    embeddings = weights.pop("embeddings")
    for name in ("encoder/embeddings_0", "decoder/embeddings", "decoder/projection"):
        weights[f"{name}/weight"] = embeddings
    for side in ("encoder", "decoder"):
        weights[f"{side}/position_encodings/encodings"] = positions(dims)
    for name, value in weights.items():
        _put(spec, name, value)
    spec.config.add_source_eos = adds_end
    spec.config.decoder_start_token = END
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(directory))


def _put(spec: Any, name: str, value: "np.ndarray[Any, Any]") -> None:
    """Set the variable of this name: `layer_0` is the first of the list `layer`."""
    *path, last = name.split("/")
    for part in path:
        stem, _, number = part.rpartition("_")
        is_listed = number.isdigit() and hasattr(spec, stem)
        spec = getattr(spec, stem)[int(number)] if is_listed else getattr(spec, part)
    setattr(spec, last, value)
