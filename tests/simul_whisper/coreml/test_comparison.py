"""Whether published weights are a model's own: the same matrices in every form they are published in."""

import gc
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simul_whisper.coreml.comparison import Comparison, compare_encoders
from simul_whisper.coreml.conversion import Conversion
from simul_whisper.coreml.package import convert
from simul_whisper.errors import WeightsError
from simul_whisper.weights import Weights
from tests.simul_whisper.coreml.published import compiled
from tests.simul_whisper.coreml.test_package import distilled, model_of
from tests.simul_whisper.weights.build import DIMS

N_MATRICES = 6 * DIMS.n_audio_layer
SAME = Comparison(N_MATRICES, N_MATRICES, can_tell=True)
QUERY = "encoder.blocks.1.attn.query.weight"


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return model_of(tmp_path, "parent")


def changed(weights: Weights, *names: str) -> Weights:
    """The same model, trained further in some of its matrices."""
    return replace(weights, tensors={**weights.tensors, **{name: weights.tensors[name] * 1.01 for name in names}})


@pytest.mark.parametrize("conversion", [Conversion(), Conversion(precision="float32"), Conversion(shapes="fixed")])
def test_a_distilled_models_encoder_is_its_parents(tmp_path: Path, weights: Weights, conversion: Conversion) -> None:
    package = convert(weights, tmp_path / "models", conversion).path
    published = compiled(package, tmp_path / "AudioEncoder.mlmodelc")
    for path in (package, published):
        assert compare_encoders(path, distilled(weights)) == compare_encoders(path, weights) == SAME


def test_weights_in_float32_are_the_same_model(tmp_path: Path, weights: Weights) -> None:
    package = convert(weights, tmp_path / "models").path
    single = {name: value.astype(np.float32) for name, value in weights.tensors.items()}
    assert compare_encoders(package, replace(weights, tensors=single)) == SAME


@pytest.mark.parametrize("names", [("encoder.blocks.0.attn.value.weight",), (QUERY, "encoder.blocks.1.mlp2.weight")])
def test_a_model_that_was_trained_further_has_another_encoder(
    tmp_path: Path, weights: Weights, names: tuple[str, ...]
) -> None:
    package = convert(weights, tmp_path / "models").path
    found = compare_encoders(package, changed(weights, *names))
    assert found == Comparison(N_MATRICES, N_MATRICES - len(names), can_tell=True)
    assert not found.are_same


@pytest.mark.parametrize("quantize", ["int8", "palette6", "palette4"])
def test_compressed_weights_say_nothing(tmp_path: Path, weights: Weights, quantize: str) -> None:
    package = convert(weights, tmp_path / "models", Conversion(quantize=quantize)).path  # type: ignore[arg-type]
    for model in (weights, changed(weights, QUERY)):
        assert compare_encoders(package, model) == Comparison(N_MATRICES, 0, can_tell=False)


def test_the_scale_that_coremltools_folds_into_a_query_is_known(tmp_path: Path, weights: Weights) -> None:
    """whisper.cpp multiplies what the query's convolution gives; what is saved is its product with the weights."""
    ct = pytest.importorskip("coremltools", exc_type=ImportError)
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    names = [name for name in weights.tensors if name.startswith("encoder.blocks") and weights.tensors[name].ndim == 2]

    @mb.program(input_specs=[mb.TensorSpec((1, 64, 1, 8))])  # type: ignore[untyped-decorator]
    def program(x: object) -> object:
        wide = mb.concat(values=[x] * 4, axis=1)
        outputs = []
        for name in names:
            weight = weights.tensors[name].astype(np.float32)[:, :, None, None]
            y = mb.conv(x=wide if weight.shape[1] == 256 else x, weight=weight)
            outputs.append(mb.mul(x=y, y=np.float32(32**-0.5)) if ".query." in name else y)
        return mb.concat(values=outputs, axis=1)

    with warnings.catch_warnings():
        # coremltools leaves temporary folders to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        model = ct.convert(program, minimum_deployment_target=ct.target.macOS13, skip_model_load=True)
        model.save(str(tmp_path / "theirs.mlpackage"))
        del model
        gc.collect()
    assert compare_encoders(tmp_path / "theirs.mlpackage", weights) == SAME


def truncate(data: bytearray) -> None:
    del data[1000:]


def point_back(data: bytearray) -> None:
    data[80:88] = (0).to_bytes(8, "little")


def claim_more(data: bytearray) -> None:
    data[:4] = (1 << 31).to_bytes(4, "little")


@pytest.mark.parametrize("damage", [truncate, point_back, claim_more, bytearray.clear])
def test_a_damaged_file_is_named(tmp_path: Path, weights: Weights, damage: Callable[[bytearray], None]) -> None:
    package = convert(weights, tmp_path / "models").path
    file = next(package.rglob("weight.bin"))
    data = bytearray(file.read_bytes())
    damage(data)
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=r"weight\.bin: "):
        compare_encoders(package, weights)
    file.unlink()
    with pytest.raises(WeightsError, match=r"weight\.bin: cannot be read"):
        compare_encoders(package, weights)
