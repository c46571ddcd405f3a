"""The program that is written, executed with NumPy from the saved package, against the MLX network."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.reference import ReferenceModel
from simul_whisper.coreml.spec import read_program
from simul_whisper.coreml.states import PredictionError
from simul_whisper.encoders.coreml import CoreMLEncoder
from simul_whisper.mel import Mel
from simul_whisper.network import Encoder
from simul_whisper.progress import Progress, Stage
from simul_whisper.weights import Dims
from tests.simul_whisper.weights.build import DIMS, random_tensors

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools", exc_type=ImportError)

from simul_whisper.coreml import encoder_program, layers  # noqa: E402

WINDOWS = (2, 4, 6, 8, 12)
WIDE = replace(DIMS, n_mels=128, n_audio_ctx=12)
ONE_HEAD = replace(DIMS, n_audio_head=1)
EXACT = Conversion(precision="float32")
FUSED = Conversion(precision="float32", target="macOS15", attention="fused")
# What the Neural Engine runs, as coremltools and Apple's published models have it, plus casts at the ends.
ON_THE_ENGINE = (
    "add cast concat conv einsum expand_dims gelu layer_norm reshape scaled_dot_product_attention "
    "softmax split squeeze transpose"
).split()
LENGTH_DEPENDENT = ["shape", "slice_by_index"]


def tensors_of(dims: Dims) -> dict[str, NDArray[Any]]:
    """Weights as small as trained ones, so that no softmax saturates."""
    return {name: (value * np.float16(0.1)) for name, value in random_tensors(dims).items()}


def saved(folder: Path, dims: Dims, conversion: Conversion) -> Path:
    model = encoder_program.build(dims, tensors_of(dims), conversion)
    model.save(str(folder / "encoder.mlpackage"))
    layers.discard(model)
    return folder / "encoder.mlpackage"


def mel_of(dims: Dims, n_hops: int) -> NDArray[np.float32]:
    return np.random.default_rng(n_hops).normal(size=(1, dims.n_mels, n_hops)).astype(np.float32)


def features_of_mlx(dims: Dims, mel: NDArray[np.float32]) -> NDArray[np.float32]:
    network = Encoder(dims)
    ours = {name: value for name, value in tensors_of(dims).items() if name.startswith("encoder.")}
    network.load_weights(
        [(name.removeprefix("encoder."), mx.array(value.astype(np.float32))) for name, value in ours.items()]
    )
    return np.array(network(mx.array(mel.transpose(0, 2, 1))))


def features_of(package: Path, mel: NDArray[np.float32]) -> NDArray[np.float32]:
    output: NDArray[np.float32] = ReferenceModel(package).predict({"logmel_data": mel})["output"]
    return output


@pytest.mark.parametrize(
    ("dims", "conversion"), [(DIMS, EXACT), (WIDE, EXACT), (ONE_HEAD, EXACT), (DIMS, FUSED), (ONE_HEAD, FUSED)]
)
def test_it_computes_what_mlx_computes_for_every_length(tmp_path: Path, dims: Dims, conversion: Conversion) -> None:
    package = saved(tmp_path, dims, conversion)
    for n_hops in encoder_program.window_hops(dims):
        mel = mel_of(dims, n_hops)
        output = features_of(package, mel)
        assert output.shape == (1, n_hops // 2, dims.n_audio_state)
        np.testing.assert_allclose(output, features_of_mlx(dims, mel), atol=1e-5)


@pytest.mark.parametrize("attention", ["split", "fused"])
def test_in_float16_it_stays_close(tmp_path: Path, attention: Any) -> None:
    package = saved(tmp_path, DIMS, Conversion(target="macOS15", attention=attention))
    mel = mel_of(DIMS, 12)
    assert parity(features_of(package, mel), features_of_mlx(DIMS, mel)).psnr_db >= 60


@pytest.fixture(scope="module")
def plain_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """The package of a target in float16, made once."""
    return cache(lambda target: saved(tmp_path_factory.mktemp("plain"), DIMS, Conversion(target=target)))


@pytest.mark.parametrize(
    ("quantize", "target", "least_db", "share"),
    [
        ("int8", "macOS13", 35, 0.6),
        ("int8", "macOS15", 35, 0.6),
        ("palette6", "macOS13", 25, 0.55),
        ("palette6", "macOS15", 25, 0.55),
        ("palette4", "macOS13", 15, 0.4),
        ("palette4", "macOS15", 15, 0.4),
        ("int4", "macOS15", 20, 0.45),
    ],
)
def test_quantised_it_is_smaller_and_still_close(
    tmp_path: Path, plain_of: Callable[[Any], Path], target: Any, quantize: Any, least_db: float, share: float
) -> None:
    plain = plain_of(target)
    package = saved(tmp_path, DIMS, Conversion(target=target, quantize=quantize))
    mel = mel_of(DIMS, 12)
    assert parity(features_of(package, mel), features_of(plain, mel)).psnr_db >= least_db
    assert weight_bytes(package) <= share * weight_bytes(plain)


def weight_bytes(package: Path) -> int:
    return next(package.rglob("weight.bin")).stat().st_size


def test_the_interface_is_whisper_cpps_and_takes_shorter_windows(tmp_path: Path) -> None:
    description = describe(saved(tmp_path, DIMS, Conversion()))
    (mel,), (features,) = description.inputs, description.outputs
    assert (mel.name, mel.dtype) == ("logmel_data", "float32")
    assert mel.shapes[0] == (1, DIMS.n_mels, 12)
    assert sorted(mel.shapes) == [(1, DIMS.n_mels, n_hops) for n_hops in WINDOWS]
    assert (features.name, features.dtype) == ("output", "float32")


def test_a_fixed_length_is_the_only_one(tmp_path: Path) -> None:
    description = describe(saved(tmp_path, DIMS, Conversion(shapes="fixed")))
    assert description.inputs[0].shapes == ((1, DIMS.n_mels, 12),)
    assert description.outputs[0].shapes == ((1, 6, DIMS.n_audio_state),)


def test_a_range_takes_every_length(tmp_path: Path) -> None:
    package = saved(tmp_path, DIMS, replace(EXACT, shapes="range"))
    (mel,) = describe(package).inputs
    assert (mel.shapes, mel.ranges) == (((1, DIMS.n_mels, 12),), ((1, 1), (DIMS.n_mels, DIMS.n_mels), (2, 12)))
    for n_hops in (2, 10, 12):
        given = mel_of(DIMS, n_hops)
        np.testing.assert_allclose(features_of(package, given), features_of_mlx(DIMS, given), atol=1e-5)
    with pytest.raises(PredictionError, match=r"\(1, 4, 14\), expected \(1, 4, 2 to 12\)"):
        features_of(package, mel_of(DIMS, 14))


@pytest.mark.parametrize("n_hops", [2, 10, 12])
def test_a_range_gets_windows_as_they_are(n_hops: int, tmp_path: Path) -> None:
    package = saved(tmp_path, DIMS, replace(EXACT, shapes="range"))
    mel = mel_of(DIMS, n_hops)
    features = CoreMLEncoder(ReferenceModel(package), describe(package), DIMS).encode(Mel(mel[0], n_hops // 2))
    np.testing.assert_allclose(features, features_of_mlx(DIMS, mel)[0], atol=1e-5)


def test_the_windows_of_whisper() -> None:
    assert encoder_program.window_hops(replace(DIMS, n_audio_ctx=1500)) == (500, 1000, 1500, 2000, 3000)


@pytest.mark.parametrize(
    "conversion", [Conversion(), Conversion(shapes="range"), Conversion(target="macOS15", attention="fused")]
)
def test_only_the_slice_of_the_positions_looks_at_the_length(tmp_path: Path, conversion: Conversion) -> None:
    found = read_program(saved(tmp_path, DIMS, conversion))
    ops = Counter(each.type for each in found.operations)
    assert ops["cast"] == 2
    assert sorted(ops.keys() - set(ON_THE_ENGINE)) == LENGTH_DEPENDENT
    assert [ops[name] for name in LENGTH_DEPENDENT] == [1, 1]
    assert max(len(each.shape) for each in found.types.values()) <= 4


def test_a_fixed_length_needs_nothing_else(tmp_path: Path) -> None:
    found = read_program(saved(tmp_path, DIMS, Conversion(shapes="fixed")))
    assert {each.type for each in found.operations} <= set(ON_THE_ENGINE)


def test_it_reports_its_steps_and_draws_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[Progress] = []
    layers.discard(encoder_program.build(DIMS, tensors_of(DIMS), Conversion(quantize="int8"), seen.append))
    assert {each.stage for each in seen} == {Stage.CONVERTING}
    assert [each.detail for each in seen] == [*["the layers"] * 3, "the encoder", "the weights to int8"]
    assert [each.fraction for each in seen[:3]] == [0, 0.5, 1]
    assert capfd.readouterr() == ("", "")
