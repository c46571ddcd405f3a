"""A Voxtral whose encoder and projector run in Core ML, with the reference runtime in Apple's place, says the same."""

import logging
from pathlib import Path

import pytest

from scripts.voxtral_reference import write_model
from simul_whisper import AlignAttConfig, Generation, load_model
from simul_whisper.audio import Samples
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.parity import parity
from simul_whisper.voxtral.checkpoint import open_voxtral
from simul_whisper.voxtral.conversion import convert_voxtral
from simul_whisper.voxtral.generation import Written
from tests.conftest import Recording
from tests.simul_whisper.coreml.conftest import UNITS, Place
from tests.simul_whisper.coreml.devices import DEVICE

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)


def test_the_hybrid_says_what_mlx_alone_says(place: Place, tmp_path: Path, captions: Recording) -> None:
    directory = write_model(tmp_path / "voxtral")
    made = convert_voxtral(open_voxtral("voxtral", directory), directory, Conversion(precision="float32"))
    place.note(made.path)
    alone = load_model(AlignAttConfig(model_path=str(directory), backend="mlx"), coreml_runtime=DEVICE)
    config = AlignAttConfig(model_path=str(directory), backend="coreml", coreml_compute_units=UNITS)
    hybrid = load_model(config, coreml_runtime=DEVICE)
    assert alone.info.pipeline == "MLX"
    assert hybrid.info.pipeline == "hybrid: encoder in Core ML, decoder in MLX"
    samples = captions.samples[:480_000]
    one, other = alone.generation(), hybrid.generation()
    assert parity(other.features(samples), one.features(samples)).psnr_db > 60
    assert texts(one, samples) == texts(other, samples)


def texts(generation: Generation, samples: Samples) -> list[list[Written]]:
    features = generation.features(samples)
    return [
        list(generation.answer(features, "what was said here?", 24)),
        list(generation.transcript(features, "en"))[:24],
        list(generation.transcript(features))[:24],
    ]
