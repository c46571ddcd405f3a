"""Models described from their files: ours, what Apple's compiler leaves, and damaged ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from simul_whisper import ModelNotFoundError, WeightsError
from simul_whisper.coreml.contents import NumberType, contents
from simul_whisper.coreml.description import Feature, describe
from tests.simul_whisper.coreml.programs import LENGTH, ct, mb, saved

MEL: dict[str, Any] = {
    "hasShapeFlexibility": "0",
    "isOptional": "0",
    "dataType": "Float16",
    "formattedType": "MultiArray (Float16 1 × 80 × 1 × 3000)",
    "shortDescription": "",
    "shape": "[1, 80, 1, 3000]",
    "name": "melspectrogram_features",
    "type": "MultiArray",
}
# As coremltools' own sources have it, which Apple's compiler is built from: lower and upper bounds, -1 for none.
RANGE: dict[str, Any] = {
    "hasShapeFlexibility": "1",
    "shape": "[1, 80, 1, 1]",
    "shapeRange": "[[1, 1], [80, 80], [1, 1], [1, -1]]",
    "shapeFlexibility": "1 × 80 × 1 × 1...",
}
EMBEDS = MEL | {"name": "encoder_output_embeds", "shape": "[1, 384, 1, 1500]"}
PROGRAM = """program(1.0)
{
    func main<ios16>(tensor<fp16, [1, 80, 1, 3000]> melspectrogram_features) {
            tensor<string, []> x_pad_type_0 = const()[name = tensor<string, []>("x_pad_type_0"), val = tensor<string, []>("custom")];
            tensor<fp16, [384, 80, 1, 3]> w = const()[name = tensor<string, []>("w"), val = tensor<fp16, [384, 80, 1, 3]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))];
            tensor<fp16, [1, 384, 1, 3000]> x = conv(pad_type = x_pad_type_0, weight = w, x = melspectrogram_features)[name = tensor<string, []>("x")];
            tensor<fp16, [1, 192, 1, 3000]> a_0, tensor<fp16, [1, 192, 1, 3000]> a_1 = split(axis = a_axis_0, x = x)[name = tensor<string, []>("a")];
            tensor<fp32, [1, 1, 1, 2, 192, 3000]> y = reshape(shape = y_shape, x = a_0)[name = tensor<string, []>("y")];
            tensor<fp16, [4]> z = gather(axis = z_axis_0, indices = i, x = y)[name = tensor<string, []>("z")];
        } -> (encoder_output_embeds);
}
"""  # noqa: E501


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("package"), precision="FLOAT16")


def compiled(folder: Path, **changes: Any) -> Path:
    path = folder / "AudioEncoder.mlmodelc"
    path.mkdir()
    content = {"inputSchema": [MEL], "outputSchema": [EMBEDS], "storagePrecision": "Float16"} | changes
    (path / "metadata.json").write_text(json.dumps([content]))
    return path


def specification(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "model.mlmodel"


def test_a_package(package: Path) -> None:
    found = describe(package)
    assert found.inputs == (Feature("x", ((1, 8, LENGTH),), "float32"),)
    assert found.outputs == (Feature("y", ((1, LENGTH, 64),), "float32"),)
    assert found.metadata["com.github.apple.coremltools.source"] == "milinternal"
    assert found.size_bytes == sum(file.stat().st_size for file in package.rglob("*") if file.is_file())


def test_the_digest_is_of_names_and_contents(package: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(package, tmp_path / "other.mlpackage"))
    digest = describe(package).digest
    assert describe(copy).digest == digest
    (copy / "more").write_bytes(b"")
    assert describe(copy).digest != digest


def test_a_compiled_model(tmp_path: Path) -> None:
    found = describe(compiled(tmp_path, userDefinedMetadata={"model": "tiny"}))
    assert found.inputs == (Feature("melspectrogram_features", ((1, 80, 1, 3000),), "float16"),)
    assert found.outputs == (Feature("encoder_output_embeds", ((1, 384, 1, 1500),), "float16"),)
    assert found.metadata == {"model": "tiny", "storagePrecision": "Float16"}


def test_enumerated_shapes_have_the_default_first(tmp_path: Path) -> None:
    listed = {"hasShapeFlexibility": "1", "enumeratedShapes": "[[1, 80, 1, 1000], [1, 80, 1, 3000]]"}
    path = compiled(tmp_path, inputSchema=[MEL | listed], outputSchema=[EMBEDS | {"shape": "[]"}])
    assert describe(path).inputs[0].shapes == ((1, 80, 1, 3000), (1, 80, 1, 1000))
    assert describe(path).outputs[0].shapes == ()


def test_a_range_of_shapes(tmp_path: Path) -> None:
    shape = ct.Shape((1, 8, ct.RangeDim(2, 40, default=LENGTH)))
    (x,) = describe(saved(tmp_path, lambda x: mb.relu(x=x, name="y"), shape=shape)).inputs
    assert (x.shapes, x.ranges) == (((1, 8, LENGTH),), ((1, 1), (8, 8), (2, 40)))
    (mel,) = describe(compiled(tmp_path, inputSchema=[MEL | RANGE])).inputs
    assert (mel.shapes, mel.ranges) == (((1, 80, 1, 1),), ((1, 1), (80, 80), (1, 1), (1, None)))


def test_what_a_feature_accepts() -> None:
    listed = Feature("x", ((1, 8, 20), (1, 8, 10)), "float32")
    assert listed.accepted == "(1, 8, 20) or (1, 8, 10)"
    assert [listed.accepts((1, 8, n)) for n in (10, 15, 20)] == [True, False, True]
    ranged = Feature("x", ((1, 8, 1),), "float32", ((1, 1), (8, None), (2, 40)))
    assert ranged.accepted == "(1, 8 or more, 2 to 40)"
    assert [ranged.accepts((1, 99, n)) for n in (1, 2, 40, 41)] == [False, True, True, False]
    assert not ranged.accepts((1, 8))
    assert not ranged.accepts((1, 8, 2, 1))


@pytest.mark.parametrize("suffix", [".mlpackage", ".mlmodelc"])
def test_nothing_there(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"none{suffix}"):
        describe(tmp_path / f"none{suffix}")


def test_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.mlpackage").write_text("a file")
    with pytest.raises(WeightsError, match="got a file, expected a folder"):
        describe(tmp_path / "model.mlpackage")
    with pytest.raises(WeightsError, match="got a folder, expected a folder named"):
        describe(tmp_path)


def test_a_package_that_is_not_whole(package: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(package, tmp_path / "copy.mlpackage"))
    whole = specification(copy).read_bytes()
    for content in (whole[: len(whole) // 2], b"\xff" * 100, b""):
        specification(copy).write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.mlmodel: .*the package is damaged"):
            describe(copy)
    specification(copy).unlink()
    with pytest.raises(WeightsError, match=r"model\.mlmodel: cannot be read"):
        describe(copy)
    for manifest in ("{}", "not json", "[]"):
        (copy / "Manifest.json").write_text(manifest)
        with pytest.raises(WeightsError, match=r"Manifest\.json: the manifest of the package does not say where"):
            describe(copy)
    (copy / "Manifest.json").unlink()
    with pytest.raises(WeightsError, match=r"Manifest\.json: cannot be read: No such file or directory; the package"):
        describe(copy)


def test_a_package_with_part_of_its_weights(package: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(package, tmp_path / "copy.mlpackage"))
    weights = specification(copy).parent / "weights" / "weight.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"weight\.bin: got 1000 bytes, expected .* truncated"):
        describe(copy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "not valid JSON"),
        ("{}", "not a description that Apple's compiler writes"),
        ('[{"inputSchema": []}]', "inputSchema is empty"),
        ('[{"outputSchema": [{"name": "y"}]}]', "inputSchema cannot be understood"),
        (
            '[{"inputSchema": [{"name": "x", "shape": "1 x 2", "dataType": "Float32"}]}]',
            "inputSchema cannot be understood",
        ),
    ],
)
def test_a_compiled_model_that_is_damaged(tmp_path: Path, text: str, said: str) -> None:
    path = compiled(tmp_path)
    (path / "metadata.json").write_text(text)
    with pytest.raises(WeightsError, match=rf"metadata\.json: {said}"):
        describe(path)


def test_a_compiled_model_without_a_description_says_what_is_missing(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    (path / "metadata.json").unlink()
    with pytest.raises(WeightsError, match=r"metadata\.json is missing; without this description"):
        describe(path)


def test_a_compiled_model_with_part_of_its_weights(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    (path / "model.mil").write_text(PROGRAM)
    with pytest.raises(WeightsError, match=r"weight\.bin: cannot be read"):
        describe(path)
    (path / "weights").mkdir()
    (path / "weights" / "weight.bin").write_bytes(bytes(100))
    with pytest.raises(WeightsError, match=r"weight\.bin.*truncated"):
        describe(path)


def test_contents_of_a_package(package: Path, tmp_path: Path) -> None:
    found = contents(package)
    assert found.number_type is NumberType.FLOAT16
    assert found.histogram["conv"] == 1
    assert found.histogram["cast"] == 2
    assert "const" not in found.histogram
    assert found.flags == ()
    wide = contents(saved(tmp_path))
    assert wide.number_type is NumberType.FLOAT32
    assert wide.flags[0].startswith("in float32, which the Neural Engine does not have: 8 of 8")


def test_contents_that_keep_work_off_the_neural_engine(tmp_path: Path) -> None:
    def network(x: object) -> object:
        taken = mb.gather(x=x, indices=[1, 0, 2, 3, 4, 5, 6, 7], axis=1)
        dilated = mb.conv(x=taken, weight=[[[1.0, 1.0]]] * 8, dilations=[2], groups=8)
        n = mb.expand_dims(x=mb.cast(x=mb.reduce_max(x=x), dtype="int32"), axes=[0])
        return mb.reshape(x=dilated, shape=mb.concat(values=[n, [-1]], axis=0), name="y")

    flags = " | ".join(contents(saved(tmp_path, network)).flags)
    for said in ("Engine: gather (x1)", "conv with dilation (x1)", "while it runs: reshape (x1)"):
        assert said in flags


def test_contents_of_a_compiled_model(tmp_path: Path) -> None:
    path = compiled(tmp_path, inputSchema=[MEL | RANGE])
    (path / "model.mil").write_text("\n".join(line for line in PROGRAM.splitlines() if "BLOBFILE" not in line))
    found = contents(path)
    assert found.histogram == {"conv": 1, "split": 1, "reshape": 1, "gather": 1}
    assert found.number_type is NumberType.FLOAT16
    assert found.flags == (
        "in float32, which the Neural Engine does not have: 1 of 4 operations",
        "not run by the Neural Engine: gather (x1)",
        "tensors of more than 5 dimensions: reshape (x1)",
        "melspectrogram_features has a range of shapes, of which the Neural Engine can run the default alone: "
        "(1, 80, 1, 1)",
    )


def test_contents_without_a_program_are_the_compilers_counts(tmp_path: Path) -> None:
    counts = {"Ios16.conv": 16, "Ios16.constexprLutToDense": 16, "Ios16.layerNorm": 9}
    found = contents(compiled(tmp_path, mlProgramOperationTypeHistogram=counts))
    assert found.histogram == {"conv": 16, "constexpr_lut_to_dense": 16, "layer_norm": 9}
    assert found.number_type is NumberType.COMPRESSED
