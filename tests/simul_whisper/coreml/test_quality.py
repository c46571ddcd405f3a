"""Compressed decoders are compared with MLX when they are made."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import ConfigError
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import describe
from simul_whisper.weights import Weights
from tests.simul_whisper.weights.build import DIMS, HEADS, random_tensors

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

from simul_whisper.coreml.decoder_package import convert_decoder  # noqa: E402
from simul_whisper.coreml.quality import check_decoder, check_encoder, decoder_likeness_db  # noqa: E402


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """A random model with weights as small as trained ones."""
    file = tmp_path / "weights.npz"
    file.write_bytes(b"weights")
    tensors = {name: value * np.float16(0.1) for name, value in random_tensors().items()}
    return Weights("small", DIMS, tensors, HEADS, tmp_path / "tokenizer.json", (file,))


@pytest.mark.parametrize("conversion", [Conversion(quantize="int8"), Conversion(quantize="int4", target="macOS15")])
def test_all_packages_of_a_compressed_decoder_say_how_near_it_is(
    conversion: Conversion, tmp_path: Path, weights: Weights
) -> None:
    made = convert_decoder(weights, tmp_path, conversion)
    assert made.psnr_db == decoder_likeness_db(made.path, weights)
    exact = decoder_likeness_db(
        convert_decoder(weights, tmp_path / "exact", replace(conversion, quantize="none")).path, weights
    )
    assert 8 < made.psnr_db < exact
    said = [describe(path).metadata["psnr_db"] for path in (made.path, *made.beside)]
    assert said == [f"{made.psnr_db:.1f}"] * (1 if conversion.has_states else 3)


def test_nonsense_is_refused_and_leaves_nothing(tmp_path: Path, weights: Weights) -> None:
    tensors: dict[str, Any] = dict(weights.tensors)
    for layer in range(DIMS.n_text_layer):
        block = f"decoder.blocks.{layer}"
        for value, product in (("attn.value", "attn.out"), ("cross_attn.value", "cross_attn.out"), ("mlp1", "mlp2")):
            for name in (f"{value}.weight", f"{value}.bias"):
                tensors[f"{block}.{name}"] = tensors[f"{block}.{name}"].copy()
                tensors[f"{block}.{name}"][0] = 0
            tensors[f"{block}.{product}.weight"] = tensors[f"{block}.{product}.weight"].copy()
            tensors[f"{block}.{product}.weight"][:, 0] = 30_000
    with pytest.raises(ConfigError, match=r"quantize = int8 makes nonsense of these weights: got -?\d+\.\d dB"):
        convert_decoder(replace(weights, tensors=tensors), tmp_path / "models", Conversion(quantize="int8"))
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("check", [check_encoder, check_decoder])
def test_what_is_no_number_is_nonsense(check: Any) -> None:
    check(25.0, "int8")
    for likeness_db in (float("nan"), -np.inf, 5.0):
        with pytest.raises(ConfigError, match="choose another value"):
            check(likeness_db, "int8")
