"""What a Core ML model says of itself: inputs, outputs, metadata, size, digest. Read from its files on any machine.

An `.mlpackage` has a specification; an `.mlmodelc` has the `metadata.json` that Apple's compiler writes: a list of one
object whose shapes are strings, "[1, 80, 3000]". It runs nothing; only an `.mlpackage` needs coremltools.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from simul_whisper.coreml.blob import BlobFile
from simul_whisper.coreml.runtime import COMPILED_SUFFIX, PACKAGE_SUFFIX
from simul_whisper.errors import BackendError, ModelNotFoundError, WeightsError
from simul_whisper.foreign_files import one_line, parse_json, read_bytes, read_json, shown

Shape = tuple[int, ...]
Range = tuple[int, int | None]
"""The smallest and the largest size of a dimension; None: without bound."""

ONLY_FUNCTION = "main"
"""The name of the function where a package has one."""
_WEIGHTS = Path("weights") / "weight.bin"
_MOST_PROGRAM_BYTES = 16 << 20
_MOST_FILES = 1000
_MOST_DIMENSIONS = 16
_MOST_FUNCTIONS = 16
_MOST_BYTES = 16 << 30
# In a compiled program's text: BLOBFILE(path = ..., offset = tensor<uint64, []>(64)), or uint64(64) in newer ones.
_BLOB, _BLOB_OFFSET = "BLOBFILE(", re.compile(r"offset = (?:tensor<uint64, \[\]>|uint64)\(([0-9]{1,20})\)")


@dataclass(frozen=True)
class Feature:
    """An input or output. shapes: all that are accepted, the default first; none where the model does not say.

    ranges: of every dimension, where all shapes within are accepted; then `shapes` is the default alone, which may be
    1 in length. dtype: "float32", "float16", "int32" ...
    """

    name: str
    shapes: tuple[Shape, ...]
    dtype: str
    ranges: tuple[Range, ...] = ()

    def accepts(self, shape: Shape) -> bool:
        if not self.ranges:
            return shape in self.shapes
        bounded = zip(shape, self.ranges, strict=False)
        return len(shape) == len(self.ranges) and all(
            least <= size and (most is None or size <= most) for size, (least, most) in bounded
        )

    @property
    def accepted(self) -> str:
        """All accepted shapes, for people: "(1, 80, 3000) or (1, 80, 500)", "(1, 80, 2 to 3000)"; may be empty."""
        if not self.ranges:
            return " or ".join(str(shape) for shape in self.shapes)
        sizes = (
            str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
            for least, most in self.ranges
        )
        return f"({', '.join(sizes)})"


@dataclass(frozen=True)
class Function:
    """What one function of a model takes, gives, and keeps between predictions."""

    name: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...] = ()


@dataclass(frozen=True)
class Description:
    """inputs, outputs, states: of the default function. size_bytes: of all files together.

    functions: all of them, the default one first; empty where the model has one and does not name it.
    """

    path: Path
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    metadata: dict[str, str]
    size_bytes: int
    states: tuple[Feature, ...] = ()
    functions: tuple[Function, ...] = ()

    @property
    def compiled(self) -> bool:
        return self.path.suffix == COMPILED_SUFFIX

    @property
    def numbers(self) -> str:
        """What the package says its numbers are, for people: "float16", "int8"."""
        said, quantized = self.metadata, self.metadata.get("quantize", "none")
        whole = said.get("precision") or said.get("computePrecision") or "numbers unknown"
        return whole if quantized == "none" else quantized

    def function(self, name: str = "") -> Function:
        """Return the function of this name, the default one without. Raises WeightsError when there is none."""
        for each in self.functions:
            if name in ("", each.name):
                return each
        if name not in ("", ONLY_FUNCTION) or self.functions:
            known = ", ".join(each.name for each in self.functions) or ONLY_FUNCTION
            raise WeightsError(f"{self.path}: got no function `{name}`, only {one_line(known)}")
        return Function(ONLY_FUNCTION, self.inputs, self.outputs, self.states)

    @cached_property
    def digest(self) -> str:
        """sha256, in hex, of every file's relative path and content, in order. Reads all: a second per gigabyte."""
        digest = hashlib.sha256()
        for file in _files(self.path):
            digest.update(file.relative_to(self.path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()


def describe(path: Path) -> Description:
    """Return what the model at `path` takes and gives.

    Raises ModelNotFoundError when nothing is there, WeightsError when it is no Core ML model, or damaged or truncated,
    and BackendError when coremltools is needed and missing.
    """
    if not path.exists():
        raise ModelNotFoundError(
            f"{path}: no such Core ML model; make it with `simul-whisper coreml convert`, or `fetch` it"
        )
    if path.suffix not in (PACKAGE_SUFFIX, COMPILED_SUFFIX) or not path.is_dir():
        kind = "folder" if path.is_dir() else "file"
        raise WeightsError(f"{path}: got a {kind}, expected a folder named *{PACKAGE_SUFFIX} or *{COMPILED_SUFFIX}")
    return _compiled(path) if path.suffix == COMPILED_SUFFIX else _package(path)


def _files(path: Path) -> list[Path]:
    """Return the files of a package, in order. Raises WeightsError when they are too many."""
    found = list(islice((file for file in path.rglob("*") if file.is_file()), _MOST_FILES + 1))
    if len(found) > _MOST_FILES:
        raise WeightsError(f"{path}: got more than {_MOST_FILES} files; this is no Core ML model")
    return sorted(found)


def _size_bytes(path: Path) -> int:
    """Return the size of all files. Raises WeightsError when it is no encoder's or decoder's."""
    n_bytes = sum(file.stat().st_size for file in _files(path))
    if n_bytes > _MOST_BYTES:
        raise WeightsError(
            f"{path}: got {n_bytes} bytes, expected at most {_MOST_BYTES}; this is no encoder or decoder"
        )
    return n_bytes


def _package(path: Path) -> Description:
    try:
        from simul_whisper.coreml import spec
    except ImportError as error:
        raise BackendError(f"{path} needs coremltools to be read; pip install 'simul-whisper[coreml]'") from error
    model = spec.read_spec(path)
    spec.check_blobs(path, model)
    fields = model.description.metadata
    metadata = dict(fields.userDefined) | {
        name: text
        for name, text in (
            ("shortDescription", fields.shortDescription),
            ("author", fields.author),
            ("license", fields.license),
            ("version", fields.versionString),
        )
        if text
    }
    try:
        found = [_spec_function(each) for each in spec.described_functions(model)]
    except ValueError as error:
        raise WeightsError(f"{path}: an input, output or state cannot be understood: {one_line(error)}") from error
    return _described(path, found, model.description.defaultFunctionName, metadata)


def _described(path: Path, functions: list[Function], default: str, metadata: dict[str, str]) -> Description:
    """default: empty where the model has one function, which it does not name."""
    for each in functions:
        names = [feature.name for feature in (*each.inputs, *each.states)]
        if len(set(names)) < len(names):
            raise WeightsError(f"{path}: two inputs or states of one name: {one_line(', '.join(names))}; it is damaged")
    functions = sorted(functions, key=lambda each: each.name != default)
    first = functions[0]
    named = tuple(functions) if default else ()
    return Description(path, first.inputs, first.outputs, metadata, _size_bytes(path), first.states, named)


def _spec_function(described: Any) -> Function:
    """described: the message of a function, or of a model that has but one."""
    inputs, outputs, states = (
        tuple(map(_spec_feature, features)) for features in (described.input, described.output, described.state)
    )
    return Function(getattr(described, "name", ONLY_FUNCTION), inputs, outputs, states)


def _spec_feature(feature: Any) -> Feature:
    kind = feature.type.WhichOneof("Type")
    array = feature.type.stateType.arrayType if kind == "stateType" else feature.type.multiArrayType
    listed = [tuple(each.shape) for each in array.enumeratedShapes.shapes]
    bounds = array.shapeRange.sizeRanges[: _MOST_DIMENSIONS + 1]
    ranges = _ranges([[each.lowerBound, each.upperBound] for each in bounds], len(array.shape))
    # Where a range has no default, Core ML takes the smallest shape.
    default = [tuple(array.shape) or tuple(least for least, _ in ranges)] if array.shape or ranges else []
    dtype = array.ArrayDataType.Name(array.dataType).lower() if array.dataType else kind
    return Feature(feature.name, tuple(dict.fromkeys(default + listed)), dtype or "unknown", ranges)


def _compiled(path: Path) -> Description:
    """Read `metadata.json`; the weights are compared with the program's text, where there is one.

    Not every compiler writes that file: then the package beside it tells.
    """
    beside = path.with_suffix(PACKAGE_SUFFIX)
    if not (path / "metadata.json").exists() and beside.exists():
        return replace(_package(beside), path=path, size_bytes=_size_bytes(path))
    content = compiled_metadata(path)
    functions, default = _schemas(path, content)
    _check_compiled_blobs(path)
    said = content.get("userDefinedMetadata")
    metadata = {str(name): str(value) for name, value in said.items()} if isinstance(said, dict) else {}
    for name in ("shortDescription", "author", "license", "version", "storagePrecision", "computePrecision"):
        if content.get(name):
            metadata[name] = str(content[name])
    return _described(path, functions, default, metadata)


def compiled_metadata(path: Path) -> dict[str, Any]:
    """Return the object in the `metadata.json` of an `.mlmodelc`. Raises WeightsError."""
    file = path / "metadata.json"
    if not file.exists():
        raise WeightsError(
            f"{file} is missing; without this description, which Apple's compiler writes, the names and shapes of "
            "the model can be read only on a Mac. Use a copy that has it, or the .mlpackage"
        )
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{file}: not valid JSON ({one_line(error)}); the model is damaged, convert or fetch it again"
        ) from error
    if not (isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict)):
        raise WeightsError(f"{file}: not a description that Apple's compiler writes, which is a list of one object")
    model: dict[str, Any] = content[0]
    return model


def _schemas(path: Path, content: dict[str, Any]) -> tuple[list[Function], str]:
    """Return the functions, and the name of the default one.

    A model of several lists them under "functions", each with the schemas that a model of one has itself.
    """
    listed = content.get("functions") or []
    if not listed:
        return [_schema_function(path, content | {"name": ONLY_FUNCTION})], ""
    if (
        not isinstance(listed, list)
        or len(listed) > _MOST_FUNCTIONS
        or not all(isinstance(each, dict) for each in listed)
    ):
        raise WeightsError(
            f"{path / 'metadata.json'}: got the functions {shown(listed)}, expected at most {_MOST_FUNCTIONS} objects"
        )
    functions, default = [_schema_function(path, each) for each in listed], content.get("defaultFunctionName")
    names = [each.name for each in functions]
    default = default or names[0]
    if default not in names or len(set(names)) < len(names):
        raise WeightsError(
            f"{path / 'metadata.json'}: got the default function {shown(default)}, expected one of {shown(names)}"
        )
    return functions, default


def _schema_function(path: Path, content: dict[str, Any]) -> Function:
    inputs, outputs, states = (_schema(path, content, f"{kind}Schema") for kind in ("input", "output", "state"))
    return Function(str(content.get("name") or ""), inputs, outputs, states)


def _schema(path: Path, content: dict[str, Any], name: str) -> tuple[Feature, ...]:
    """Return the features of a schema, which may be missing or empty for states alone."""
    optional = name == "stateSchema"
    try:
        features = tuple(_schema_feature(each) for each in content.get(name, [] if optional else [None]))
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{path / 'metadata.json'}: {name} cannot be understood ({one_line(error)}); each "
            "entry needs name, shape and dataType"
        ) from error
    if not (features or optional):
        raise WeightsError(f"{path / 'metadata.json'}: {name} is empty; a model has at least one input and one output")
    return features


def _schema_feature(feature: Any) -> Feature:
    match feature:
        case {"name": str(name), "shape": str(default), "dataType": str(dtype)}:
            listed = parse_json(str(feature.get("enumeratedShapes") or "[]"))
            shapes = [_shape(parse_json(default)), *map(_shape, listed)]
            ranges = _ranges(parse_json(str(feature.get("shapeRange") or "[]")), len(shapes[0]))
            return Feature(name, tuple(shape for shape in dict.fromkeys(shapes) if shape), dtype.lower(), ranges)
    raise ValueError(f"got {shown(feature)}")


def _shape(sizes: Any) -> Shape:
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
        raise ValueError(f"got the shape {shown(sizes)}")
    return tuple(sizes)


def _ranges(bounds: Any, rank: int) -> tuple[Range, ...]:
    """Return the range of each dimension; -1, as any negative number, is no bound. Raises ValueError.

    rank: of the default shape, 0 where there is none.
    """
    ranges = [_shape(each) for each in bounds] if isinstance(bounds, list) else [()]
    are_pairs = all(len(each) == 2 and each[0] >= 0 and (each[1] < 0 or each[0] <= each[1]) for each in ranges)
    if not are_pairs or len(ranges) > _MOST_DIMENSIONS or (ranges and rank and len(ranges) != rank):
        raise ValueError(f"got the ranges {shown(bounds)} for {rank} dimensions")
    return tuple((least, most if most >= 0 else None) for least, most in ranges)


def _check_compiled_blobs(path: Path) -> None:
    """Raise WeightsError when the weights are missing or shorter than the program says."""
    _, *constants = program_text(path).split(_BLOB)
    found = (_BLOB_OFFSET.search(constant) for constant in constants)
    offsets = [int(offset[1]) for offset in found if offset]
    if offsets:
        blobs = BlobFile(path / _WEIGHTS)
        for offset in offsets:
            blobs.raw(offset)


def program_text(path: Path) -> str:
    """Return an `.mlmodelc`'s program; empty when it has no text."""
    program = path / "model.mil"
    try:
        return read_bytes(program, _MOST_PROGRAM_BYTES).decode("utf-8", errors="replace") if program.exists() else ""
    except (OSError, ValueError) as error:
        raise WeightsError(f"{program}: cannot be read: {one_line(error)}") from error
