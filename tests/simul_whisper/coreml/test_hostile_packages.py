"""Core ML packages that a stranger made: described, computed or refused in one line, within bounds."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.coreml.contents import contents
from simul_whisper.coreml.description import describe
from simul_whisper.coreml.operators import constexpr_blockwise_shift_scale
from simul_whisper.coreml.reference import REFERENCE, ReferenceModel
from simul_whisper.coreml.runtime import open_model
from simul_whisper.encoders.coreml import CoreMLEncoder, input_and_output
from simul_whisper.errors import EncoderNotLoadedError, WeightsError
from tests.hostile_files import damaged, damaged_json, grown_mb, only_our_errors
from tests.properties import examples
from tests.simul_whisper.coreml.programs import X, saved
from tests.simul_whisper.coreml.stateful import saved_functions
from tests.simul_whisper.coreml.test_description import EMBEDS, MEL, PROGRAM
from tests.simul_whisper.weights.build import DIMS

_MOST_MB = 600
"""Of a specification of 8 MB, all of it empty messages."""
_SPEC = Path("Data") / "com.apple.CoreML" / "model.mlmodel"
_NUMBERS = (-1, 0, 1, 2**31 - 1, 2**40, 2**63 - 1)
_TEXTS = ("", "x", "../../../etc/passwd", "@model_path/../../x", "a\nb")


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("package"), precision="FLOAT16")


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of two functions, which share a state."""
    return saved_functions(tmp_path_factory.mktemp("stateful"))


@pytest.fixture
def copy(true: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(true, tmp_path / "copy.mlpackage"))


def read(package: Path) -> None:
    """All that is done with a package before a Mac gets it, and in place of a Mac."""
    found = describe(package)
    assert found.digest
    assert contents(package)
    with suppress(EncoderNotLoadedError):
        input_and_output(found, DIMS)
    if found.compiled:
        return
    for function in found.functions or (found.function(),):
        model = open_model(REFERENCE, package, "CPU_ONLY", function.name)
        tokens = np.ones((1, 1 if function.name == "one" else 4), np.int32)
        # What encoder and decoder, which are the only callers, turn into their own errors.
        with suppress(Exception):
            if function.states:
                model.predict({"tokens": tokens, "position": np.zeros(1, np.int32)}, model.make_state())
            else:
                model.predict({"x": X})


def model_of(package: Path) -> Any:
    from simul_whisper.coreml.spec import read_spec

    return read_spec(package)


def test_the_true_ones_are_read(true: Path, stateful: Path) -> None:
    read(true)
    read(stateful)


def _places(message: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every number and text of a message, by what holds it and its name or place there."""
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            is_listed = hasattr(value, "append")
            yield from ((value, place) for place in range(min(len(value), 4))) if is_listed else [(message, field.name)]
        else:
            inner = value.values() if hasattr(value, "keys") else value if hasattr(value, "add") else [value]
            for each in inner:
                yield from _places(each) if hasattr(each, "ListFields") else ()


@pytest.mark.parametrize("name", ["true", "stateful"])
@examples(200)
@given(data=st.data())
def test_any_number_and_text_is_read_or_refused(
    name: str, data: st.DataObject, true: Path, stateful: Path, tmp_path: Path
) -> None:
    original = stateful if name == "stateful" else true
    package = Path(shutil.copytree(original, tmp_path / "damaged.mlpackage", dirs_exist_ok=True))
    spec = model_of(original)
    places = list(_places(spec))
    holder, key = places[data.draw(st.integers(0, len(places) - 1))]
    value = getattr(holder, key) if isinstance(key, str) else holder[key]
    other = data.draw(st.sampled_from(_TEXTS if isinstance(value, str) else _NUMBERS))
    with suppress(ValueError, TypeError):  # it cannot hold such a value
        if isinstance(key, str):
            setattr(holder, key, other)
        else:
            holder[key] = other
    (package / _SPEC).write_bytes(spec.SerializeToString())
    with only_our_errors():
        read(package)


@pytest.mark.parametrize("name", ["Manifest.json", _SPEC, _SPEC.parent / "weights" / "weight.bin"], ids=str)
@examples(100)
@given(data=st.data())
def test_a_damaged_package_is_read_or_refused(name: Path, data: st.DataObject, true: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(true, tmp_path / "damaged.mlpackage", dirs_exist_ok=True))
    whole = (true / name).read_bytes()
    is_json = str(name).endswith(".json") and data.draw(st.booleans())
    (package / name).write_bytes(data.draw(damaged_json(whole.decode()) if is_json else damaged(whole)))
    with only_our_errors():
        read(package)


FLEXIBLE = {"enumeratedShapes": "[[1, 80, 1, 3000]]", "shapeRange": "[[1, 1], [80, 80], [1, 1], [1, 3000]]"}
METADATA = json.dumps([{"inputSchema": [MEL | FLEXIBLE], "outputSchema": [EMBEDS]}])


def compiled(folder: Path, metadata: bytes = METADATA.encode(), program: bytes = b"") -> Path:
    path = folder / "AudioEncoder.mlmodelc"
    (path / "weights").mkdir(parents=True, exist_ok=True)
    (path / "metadata.json").write_bytes(metadata)
    (path / "model.mil").write_bytes(program)
    (path / "weights" / "weight.bin").write_bytes(bytes(64) + b"\xef\xbe\xad\xde" + bytes(200))
    return path


@examples(200)
@given(
    metadata=damaged_json(METADATA) | damaged(METADATA.encode()) | st.just(METADATA.encode()),
    program=damaged(PROGRAM.encode()) | st.just(b""),
)
def test_a_damaged_compiled_model_is_read_or_refused(metadata: bytes, program: bytes, tmp_path: Path) -> None:
    with only_our_errors():
        read(compiled(tmp_path, metadata, program))


@pytest.mark.parametrize(
    "program",
    ["BLOBFILE(" * 100_000, "\n" * 1_000_000, "tensor<a, [" * 100_000, "tensor<a, [1]> = " * 60_000, " " * 1_000_000],
    ids=["constants", "lines", "shapes", "results", "spaces"],
)
def test_no_text_of_a_program_takes_for_ever(program: str, tmp_path: Path) -> None:
    contents(compiled(tmp_path, program=program.encode()))


def _elsewhere(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../../etc/passwd"
    (package / "Manifest.json").write_text(json.dumps(manifest))


def changed(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def harm(package: Path) -> None:
        spec = model_of(package)
        change(spec)
        (package / _SPEC).write_bytes(spec.SerializeToString())

    return harm


def _first_blob(spec: Any) -> Any:
    from simul_whisper.coreml.spec import _stored_values

    return next(iter(_stored_values(spec))).blobFileValue


def _blob_elsewhere(spec: Any) -> None:
    _first_blob(spec).fileName = "@model_path/../../../x"


def _blob_far_away(spec: Any) -> None:
    _first_blob(spec).offset = 2**63


def _no_operand(spec: Any) -> None:
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    for operation in block.operations:
        for argument in operation.inputs.values():
            del argument.arguments[:]


def _many_inputs(spec: Any) -> None:
    for _ in range(100):
        spec.description.input.add()


def _functions(*names: str) -> Callable[[Any], None]:
    def change(spec: Any) -> None:
        for name in names:
            function = spec.description.functions.add()
            function.name = name
            function.input.extend(spec.description.input)
            function.output.extend(spec.description.output)
        spec.description.defaultFunctionName = "0"

    return change


def _many_ranges(spec: Any) -> None:
    described = spec.description.input[0].type.multiArrayType
    del described.shape[:]
    described.shapeRange.MergeFromString(b"\x0a\x00" * 1_000_000)


def _bomb(package: Path) -> None:
    """Millions of empty messages, two bytes each."""
    n = 4_000_000
    length = bytes([n & 127 | 128, n >> 7 & 127 | 128, n >> 14 & 127 | 128, n >> 21])
    (package / _SPEC).write_bytes(b"\x12" + length + b"\x0a\x00" * (n // 2))


def _deep(package: Path) -> None:
    """Pipelines of one model, a thousand levels deep."""
    content = b""
    for _ in range(1000):
        content = _inside(b"\xd2\x0c", _inside(b"\x0a", content))
    (package / _SPEC).write_bytes(content)


def _inside(tag: bytes, content: bytes) -> bytes:
    n = len(content)
    return tag + bytes([n & 127 | 128, n >> 7 & 127 | 128, n >> 14 & 127]) + content


def _range_reversed(spec: Any) -> None:
    for least, most in ((1, 1), (8, 8), (20, 2)):
        bounds = spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges.add()
        bounds.lowerBound, bounds.upperBound = least, most


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a model elsewhere": (_elsewhere, r"got the model at '\.\./\.\./\.\./etc/passwd'"),
    "weights elsewhere": (changed(_blob_elsewhere), "got weights at"),
    "weights beyond the file": (changed(_blob_far_away), "truncated"),
    "many functions": (changed(_functions(*map(str, range(17)))), "17 functions, expected at most .* and 16; this is"),
    "a default that is none": (changed(_functions("1", "2")), "the default one is not among them; it is damaged"),
    "functions of one name": (changed(_functions("0", "0")), "its functions have no names"),
    "a hundred inputs": (changed(_many_inputs), "this is no encoder"),
    "a range reversed": (
        changed(_range_reversed),
        r"got the ranges \[\[1, 1\], \[8, 8\], \[20, 2\]\] for 3 dimensions",
    ),
    "millions of ranges": (changed(_many_ranges), "for 0 dimensions"),
    "millions of messages": (_bomb, "damaged"),
    "messages in messages": (_deep, "damaged"),
    "a large specification": (lambda package: (package / _SPEC).write_bytes(bytes(9 << 20)), "expected at most"),
    "a nested manifest": (lambda package: (package / "Manifest.json").write_text("[" * 100_000), "does not say where"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_means_harm_is_refused_by_name(name: str, copy: Path) -> None:
    harm, said = CASES[name]
    harm(copy)
    with pytest.raises(WeightsError, match=said):
        describe(copy)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights are blocks of four-bit numbers."""
    from tests.simul_whisper.coreml.test_reference import quantized

    in_blocks = quantized(dtype="int4", granularity="per_block", block_size=4)
    return saved(tmp_path_factory.mktemp("packed"), precision="FLOAT16", target="macOS15", compress=in_blocks)


def _four_bits(spec: Any) -> Any:
    from coremltools.proto import MIL_pb2

    from simul_whisper.coreml.spec import _stored_values

    return next(each for each in _stored_values(spec) if each.type.tensorType.dataType == MIL_pb2.INT4)


@pytest.mark.parametrize("n_bytes", [0, 1, 767, 769, 2**40, 2**63])
def test_four_bit_weights_of_another_length_are_refused(n_bytes: int, packed: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(packed, tmp_path / "short.mlpackage"))
    weights = package / _SPEC.parent / "weights" / "weight.bin"
    header, content = _four_bits(model_of(package)).blobFileValue.offset, bytearray(weights.read_bytes())
    assert content[header + 8 : header + 16] == (768).to_bytes(8, "little")
    content[header + 8 : header + 16] = n_bytes.to_bytes(8, "little")
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weight\.bin: got .* bytes.*, expected"):
        ReferenceModel(package)


@pytest.mark.parametrize("blocks", [(64, 3, 1, 3), (64, 16, 1, 3), (65, 2, 1, 3), (64, 0, 1, 3), (384,), ()])
def test_scales_that_fit_no_block_are_refused(blocks: tuple[int, ...]) -> None:
    scale = np.ones(blocks, np.float32)
    with pytest.raises((ValueError, LookupError, ArithmeticError)):
        constexpr_blockwise_shift_scale(np.ones((64, 8, 1, 3), np.int8), scale)


def test_an_operation_without_operands_is_refused(copy: Path) -> None:
    changed(_no_operand)(copy)
    with pytest.raises(WeightsError, match=r"its program cannot be understood: .* is no operand"):
        contents(copy)


@pytest.mark.parametrize("counts", [{"Ios16.conv": 10**15}, {"Ios16.conv": -1}, {"Ios16.conv": "x"}, [1], "x"])
def test_counts_of_operations_that_cannot_be_are_refused(counts: Any, tmp_path: Path) -> None:
    content = [json.loads(METADATA)[0] | {"mlProgramOperationTypeHistogram": counts}]
    with pytest.raises(WeightsError, match="got the counts"):
        contents(compiled(tmp_path, json.dumps(content).encode()))


def test_two_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    """Whoever looks for an input by its name takes it for the only one."""
    content = [{"inputSchema": [MEL, MEL], "outputSchema": [EMBEDS]}]
    with pytest.raises(WeightsError, match="of one name"):
        describe(compiled(tmp_path, json.dumps(content).encode()))


@pytest.mark.parametrize("shape", [[1, 4, 2**40], [1, 4, 0], [1, 4, -2], [2, 4, 12], [1, 4, 2**40, 12], [1, 4, 13]])
def test_an_encoder_with_an_impossible_window_is_refused(shape: list[int], tmp_path: Path) -> None:
    content = [{"inputSchema": [MEL | {"shape": json.dumps(shape)}], "outputSchema": [EMBEDS | {"shape": "[]"}]}]
    found = describe(compiled(tmp_path, json.dumps(content).encode()))
    with pytest.raises(EncoderNotLoadedError, match="got an input of"):
        CoreMLEncoder(object(), found, DIMS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ranges",
    [[[1, 1]], [[1, 1], [4, 4], [12, 2]], [[1, 1], [4, 4], [-1, 12]], [[1, 1], [4, 4], [1, 2, 3]], [1, 4, 12], {}, "x"],
    ids=str,
)
def test_a_range_that_is_none_is_refused(ranges: Any, tmp_path: Path) -> None:
    ranged = MEL | {"shape": "[1, 4, 12]", "shapeRange": json.dumps(ranges)}
    content = [{"inputSchema": [ranged], "outputSchema": [EMBEDS]}]
    with pytest.raises(WeightsError, match=r"inputSchema cannot be understood \(got the (ranges|shape)"):
        describe(compiled(tmp_path, json.dumps(content).encode()))


def test_a_range_without_end_takes_no_memory(tmp_path: Path) -> None:
    ranged = MEL | {"shape": "[1, 4, 1]", "shapeRange": json.dumps([[0, 2**63], [4, 2**63], [0, 10**30]])}
    content = [{"inputSchema": [ranged], "outputSchema": [EMBEDS | {"shape": "[]"}]}]
    (given, _) = input_and_output(describe(compiled(tmp_path, json.dumps(content).encode())), DIMS)
    assert given.accepts((1, 4, 12))


def test_what_means_harm_takes_no_memory(true: Path, tmp_path: Path) -> None:
    packages = [Path(shutil.copytree(true, tmp_path / f"{n}.mlpackage")) for n in range(len(CASES))]
    for package, (harm, _) in zip(packages, CASES.values(), strict=True):
        harm(package)
    program = """from simul_whisper.coreml import spec; from simul_whisper.coreml.description import describe
from simul_whisper.errors import WeightsError
for path in map(__import__("pathlib").Path, sys.argv[1:]):
    try:
        describe(path)
    except WeightsError:
        pass
"""
    assert grown_mb(program, *packages) < _MOST_MB
