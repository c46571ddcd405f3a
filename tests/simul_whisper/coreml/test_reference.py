"""Programs built by hand, saved by coremltools, read back from disk and executed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simul_whisper import BackendError, ModelNotFoundError, Progress, Stage, WeightsError
from simul_whisper.coreml.parity import parity
from simul_whisper.coreml.reference import REFERENCE, ReferenceModel
from simul_whisper.coreml.states import PredictionError
from tests.simul_whisper.coreml.programs import WEIGHT, Array, X, expected, mb, saved

optimize = pytest.importorskip("coremltools.optimize.coreml", exc_type=ImportError)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("float32"))


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("float16"), precision="FLOAT16")


def test_a_saved_program_computes_what_it_says(package: Path) -> None:
    answer = ReferenceModel(package).predict({"x": X})
    assert list(answer) == ["y"]
    assert answer["y"].dtype == np.float32
    np.testing.assert_allclose(answer["y"], expected(X), atol=1e-4)


def test_inputs_are_not_changed_and_answers_are_not_shared(half: Path) -> None:
    model, x = ReferenceModel(half), X.copy()
    first = model.predict({"x": x})["y"]
    kept = first.copy()
    model.predict({"x": -x})
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(first, kept)


def test_float16_programs_are_rounded_unless_told_otherwise(half: Path) -> None:
    right = expected(X, WEIGHT.astype(np.float16).astype(np.float32))
    rounded, exact = (ReferenceModel(half, float16=choice).predict({"x": X})["y"] for choice in (None, False))
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16))
    assert 50 < parity(rounded, right).psnr_db < parity(exact, right).psnr_db
    assert parity(exact, right).largest_difference < 0.01


def test_float32_programs_can_be_run_as_if_they_were_float16(package: Path, half: Path) -> None:
    np.testing.assert_array_equal(
        ReferenceModel(package, float16=True).predict({"x": X})["y"], ReferenceModel(half).predict({"x": X})["y"]
    )


def quantized(**options: Any) -> Callable[[Any], Any]:
    config = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0, **options)
    return lambda model: optimize.linear_quantize_weights(model, optimize.OptimizationConfig(config))


def palettized(**options: Any) -> Callable[[Any], Any]:
    config = optimize.OpPalettizerConfig(mode="uniform", weight_threshold=0, **options)
    return lambda model: optimize.palettize_weights(model, optimize.OptimizationConfig(config))


@pytest.mark.parametrize(
    ("target", "compress", "least_db"),
    [
        ("macOS13", quantized(), 40),
        ("macOS15", quantized(), 40),
        ("macOS15", quantized(dtype="int4", granularity="per_block", block_size=4), 20),
        ("macOS13", palettized(nbits=6), 30),
        ("macOS15", palettized(nbits=4), 20),
        ("macOS15", palettized(nbits=4, granularity="per_grouped_channel", group_size=8), 20),
    ],
    ids=["affine", "blockwise", "int4-blocks", "palette6", "palette4", "palette4-groups"],
)
def test_compressed_weights(tmp_path: Path, target: str, compress: Callable[[Any], Any], least_db: float) -> None:
    path = saved(tmp_path, precision="FLOAT16", target=target, compress=compress)
    found = parity(ReferenceModel(path).predict({"x": X})["y"], expected(X))
    assert least_db < found.psnr_db < 75


def test_weights_expanded_anew_give_the_same(tmp_path: Path) -> None:
    path = saved(tmp_path, precision="FLOAT16", compress=quantized())
    seen: list[Progress] = []
    model = ReferenceModel(path, keep_expanded=False, progress=seen.append)
    answers = [each.predict({"x": X})["y"] for each in (ReferenceModel(path), model, model)]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])
    assert {each.stage for each in seen} == {Stage.CHECKING}
    steps = [each.done for each in seen]
    assert steps == [*range(seen[0].total)] * 2


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"x": np.zeros((1, 80, 5000))}, r"got x of shape \(1, 80, 5000\), expected \(1, 8, 20\)"),
        ({"z": X}, "got inputs z, expected x"),
        ({}, "expected x"),
    ],
)
def test_wrong_inputs_are_refused_as_coremltools_does(package: Path, inputs: dict[str, Array], said: str) -> None:
    with pytest.raises(PredictionError, match=said) as caught:
        ReferenceModel(package).predict(inputs)
    assert isinstance(caught.value, RuntimeError)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda x: mb.atanh(x=x, name="y"))
    with pytest.raises(BackendError, match="got operators atanh, expected some of conv, "):
        ReferenceModel(path)


def test_an_unknown_way_of_an_operator_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, lambda x: mb.concat(values=[x, x], axis=1, interleave=True, name="y"))
    with pytest.raises(BackendError, match="concat y cannot be computed: got concat with interleave"):
        ReferenceModel(path).predict({"x": X})


def test_a_compiled_model_needs_a_mac(tmp_path: Path) -> None:
    folder = tmp_path / "model.mlmodelc"
    folder.mkdir()
    feature = '{"name": "x", "shape": "[1, 8, 20]", "dataType": "Float32"}'
    (folder / "metadata.json").write_text(f'[{{"inputSchema": [{feature}], "outputSchema": [{feature}]}}]')
    with pytest.raises(BackendError, match="runs on a Mac only"):
        ReferenceModel(folder)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    weights = path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    whole = weights.read_bytes()
    for content, said in ((whole[:-100], "truncated"), (bytes(len(whole)), "damaged"), (b"", "cannot be read")):
        weights.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"weight\.bin.*{said}"):
            ReferenceModel(path)
    weights.unlink()
    with pytest.raises(WeightsError, match=r"weight\.bin"):
        ReferenceModel(path)


def test_the_runtime_stands_where_apples_does(package: Path, tmp_path: Path) -> None:
    np.testing.assert_allclose(REFERENCE.open(package, "ALL").predict({"x": X})["y"], expected(X), atol=1e-4)
    assert not REFERENCE.has_neural_engine()
    with pytest.raises(ModelNotFoundError, match="missing"):
        REFERENCE.open(tmp_path / "missing.mlpackage", "ALL")
