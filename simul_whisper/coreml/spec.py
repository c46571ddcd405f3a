"""A saved package's specification, read from disk: interface, metadata, operations and constants as plain values.

It knows Core ML's files, and executes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.proto import MIL_pb2, Model_pb2
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from simul_whisper.coreml.blob import BlobFile, decoded, numpy_type
from simul_whisper.coreml.description import ONLY_FUNCTION
from simul_whisper.errors import ModelNotFoundError, WeightsError
from simul_whisper.foreign_files import is_plain_path, one_line, read_bytes, read_json, shown

Value = NDArray[Any] | bool | int | float | str
"""What an operand holds: a tensor, or a plain Python value where the program has a scalar."""
_MODEL_PATH = "@model_path"
# The encoder of the largest Whisper takes 2 MB and 15,000 operations.
_MOST_SPEC_BYTES = 8 << 20
_MOST_OPERATIONS = 1 << 17
_MOST_FEATURES = 64
_MOST_FUNCTIONS = 16
_MOST_FOLDERS = 8
# What an operation on states has to name, and whether it has a result.
_OF_STATES = {
    "read_state": (("input",), True),
    "write_state": (("input", "data"), False),
    "slice_update": (("x",), True),
}


@dataclass(frozen=True)
class TensorType:
    """dtype: "float16", "int32", "string" ...; shape: None where it is known only when the program runs."""

    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Operation:
    """One step. inputs: operands by parameter, several where the parameter is a list; outputs: names in order."""

    type: str
    inputs: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """One function of a package.

    operations: in the order in which they run, without constants. types: of all inputs, states and results. stored: for
    constants that lie in a weight file, what names their bytes in every function of the package.
    """

    operations: tuple[Operation, ...]
    constants: Mapping[str, Value]
    types: Mapping[str, TensorType]
    inputs: tuple[str, ...]
    states: tuple[str, ...]
    outputs: tuple[str, ...]
    stored: Mapping[str, str]


def read_spec(package: Path) -> Any:
    """Return the package's `Model` message. Raises ModelNotFoundError or WeightsError."""
    path = _spec_file(package)
    spec: Any = Model_pb2.Model()
    try:
        spec.ParseFromString(read_bytes(path, _MOST_SPEC_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(
            f"{path}: cannot be read: {one_line(reason)}; the package is incomplete, convert or fetch it again"
        ) from error
    except DecodeError as error:
        raise WeightsError(
            f"{path}: not a Core ML specification ({one_line(error)}); the package is damaged"
        ) from error
    _check_description(path, spec)
    return spec


def _check_description(path: Path, spec: Any) -> None:
    """Raise WeightsError when there is no model, or more than one has."""
    functions = described_functions(spec)
    if not (all(each.input and each.output for each in functions) and spec.WhichOneof("Type")):
        raise WeightsError(
            f"{path}: a Core ML specification without a model or its inputs and outputs; the package is damaged"
        )
    names = [each.name for each in spec.description.functions]
    if names and (spec.description.defaultFunctionName not in names or len(set(names)) < len(names)):
        raise WeightsError(f"{path}: its functions have no names, or the default one is not among them; it is damaged")
    n_features = max(len(each.input) + len(each.output) + len(each.state) for each in functions)
    n_operations = _n_operations(spec)
    if n_features > _MOST_FEATURES or n_operations > _MOST_OPERATIONS or len(functions) > _MOST_FUNCTIONS:
        raise WeightsError(
            f"{path}: got {n_features} inputs, outputs and states, {n_operations} operations and {len(functions)} "
            f"functions, expected at most {_MOST_FEATURES}, {_MOST_OPERATIONS} and {_MOST_FUNCTIONS}; this is no "
            "encoder or decoder"
        )


def described_functions(spec: Any) -> list[Any]:
    """Return the descriptions of the functions; of a model without, its only one."""
    return list(spec.description.functions) or [spec.description]


def add_metadata(package: Path, said: Mapping[str, str]) -> None:
    """Let a package say more of itself. Raises what `read_spec` does, and OSError."""
    spec = read_spec(package)
    spec.description.metadata.userDefined.update(said)
    _spec_file(package).write_bytes(spec.SerializeToString())


def _n_operations(spec: Any) -> int:
    blocks = (each for function in spec.mlProgram.functions.values() for each in _blocks(function))
    return sum(len(block.operations) for block in blocks)


def _blocks(function: Any) -> Iterable[Any]:
    blocks: Iterable[Any] = function.block_specializations.values()
    return blocks


def _spec_file(package: Path) -> Path:
    """Return where the package's manifest says that the specification is."""
    if not package.exists():
        raise ModelNotFoundError(f"{package}: no such Core ML model")
    manifest = package / "Manifest.json"
    try:
        content = read_json(manifest)
        path = str(content["itemInfoEntries"][content["rootModelIdentifier"]]["path"])
    except OSError as error:
        raise WeightsError(
            f"{manifest}: cannot be read: {error.strerror}; the package is incomplete, convert or fetch it again"
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise WeightsError(f"{manifest}: the manifest of the package does not say where the model is") from error
    if not is_plain_path(path, _MOST_FOLDERS):
        raise WeightsError(f"{manifest}: got the model at {shown(path)}, expected a path in the package")
    return package / "Data" / path


def check_blobs(package: Path, spec: Any) -> None:
    """Raise WeightsError when a weight file is missing, damaged or shorter than the specification says."""
    folder, files = _spec_file(package).parent, dict[str, BlobFile]()
    for value in _stored_values(spec):
        blob = value.blobFileValue
        if blob.fileName not in files:
            files[blob.fileName] = BlobFile(_blob_path(folder, blob.fileName))
        files[blob.fileName].raw(blob.offset)


def _stored_values(spec: Any) -> Iterator[Any]:
    """Yield the values that are in weight files."""
    for function in spec.mlProgram.functions.values():
        for block in _blocks(function):
            for operation in block.operations:
                inline = [each.value for given in operation.inputs.values() for each in given.arguments]
                for value in [*operation.attributes.values(), *inline]:
                    if value.WhichOneof("value") == "blobFileValue":
                        yield value


def _blob_path(folder: Path, name: str) -> Path:
    path = name.removeprefix(_MODEL_PATH).lstrip("/")
    if not is_plain_path(path, _MOST_FOLDERS):
        raise WeightsError(f"{folder}: got weights at {shown(name)}, expected a path in the package")
    return folder / path


def read_program(package: Path, function: str = "") -> Program:
    """Return what a function of the package computes, the default one without a name.

    Raises ModelNotFoundError, or WeightsError when any of its files is damaged or it has no such function.
    """
    spec = read_spec(package)
    kind, name = spec.WhichOneof("Type"), function or spec.description.defaultFunctionName or ONLY_FUNCTION
    if kind != "mlProgram" or name not in spec.mlProgram.functions:
        found = one_line(", ".join(sorted(spec.mlProgram.functions)) or "none")
        raise WeightsError(
            f"{package}: got a model of type {kind} with the functions {found}, expected an mlProgram with a function "
            f"`{one_line(name)}`"
        )
    try:
        return _Reader(_spec_file(package).parent).program(spec.mlProgram.functions[name])
    # Whatever of a message is missing or of another kind than it should be.
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"{package}: its program cannot be understood: {one_line(error)}; it is damaged") from error


class _Reader:
    """Reads one function. Constants written in place get names of their own."""

    def __init__(self, model_folder: Path) -> None:
        self._folder = model_folder
        self._blobs: dict[str, BlobFile] = {}
        self._constants: dict[str, Value] = {}
        self._types: dict[str, TensorType] = {}
        self._stored: dict[str, str] = {}
        self._n_operations = 0

    def program(self, function: Any) -> Program:
        block = function.block_specializations[function.opset]
        for each in function.inputs:
            self._types[each.name] = _tensor_type(each.type)
        operations = [self._operation(each) for each in block.operations if not self._keep_constant(each)]
        states = tuple(each.name for each in function.inputs if each.type.WhichOneof("type") == "stateType")
        _check_states(operations, states)
        inputs = tuple(each.name for each in function.inputs if each.name not in states)
        return Program(
            tuple(operations), self._constants, self._types, inputs, states, tuple(block.outputs), self._stored
        )

    def _keep_constant(self, operation: Any) -> bool:
        if operation.type == "const":
            self._kept(operation.outputs[0].name, operation.attributes["val"])
            return True
        return False

    def _operation(self, operation: Any) -> Operation:
        outputs = tuple(each.name for each in operation.outputs)
        self._types |= {each.name: _tensor_type(each.type) for each in operation.outputs}
        # What writes a state has no output to be named by.
        self._n_operations += 1
        own = outputs[0] if outputs else f"{operation.type}.{self._n_operations}"
        inputs = {
            parameter: self._named(f"{own}.{parameter}", argument.arguments)
            for parameter, argument in operation.inputs.items()
        }
        # Before iOS 18 the operands of compressed weights are attributes.
        for parameter, value in operation.attributes.items():
            if parameter != "name":
                inputs[parameter] = (self._kept(f"{own}.{parameter}", value),)
        return Operation(operation.type, inputs, outputs)

    def _named(self, prefix: str, bindings: Sequence[Any]) -> tuple[str, ...]:
        if not bindings:
            raise ValueError(f"{prefix} is no operand")
        return tuple(
            each.name if each.WhichOneof("binding") == "name" else self._kept(f"{prefix}.{index}", each.value)
            for index, each in enumerate(bindings)
        )

    def _kept(self, name: str, value: Any) -> str:
        self._constants[name] = self._value(value)
        if value.WhichOneof("value") == "blobFileValue":
            blob = value.blobFileValue
            self._stored[name] = f"{self._blob(blob.fileName).identity}:{blob.offset}:{_tensor_type(value.type)}"
        return name

    def _value(self, value: Any) -> Value:
        tensor_type = _tensor_type(value.type)
        shape = tuple(size for size in tensor_type.shape if size is not None)
        if value.WhichOneof("value") == "blobFileValue":
            blob = value.blobFileValue
            return self._blob(blob.fileName).tensor(blob.offset, tensor_type.dtype, shape)
        tensor = value.immediateValue.tensor
        content = getattr(tensor, tensor.WhichOneof("value") or "floats").values
        if tensor_type.dtype == "string":
            return str(content[0])
        if isinstance(content, bytes):
            array = decoded(np.frombuffer(content, np.uint8), tensor_type.dtype, shape)
        else:
            array = np.array(content, numpy_type(tensor_type.dtype)).reshape(shape)
        return array if shape else _scalar(array)

    def _blob(self, name: str) -> BlobFile:
        if name not in self._blobs:
            self._blobs[name] = BlobFile(_blob_path(self._folder, name))
        return self._blobs[name]


def _check_states(operations: Iterable[Operation], states: Sequence[str]) -> None:
    """Raise ValueError where an operation does not say which state it means, or what it changes."""
    for operation in operations:
        needed, has_result = _OF_STATES.get(operation.type, ((), False))
        if not operation.inputs.keys() >= set(needed) or (has_result and not operation.outputs):
            raise ValueError(f"{operation.type} of nothing")
        if "input" in needed and operation.inputs["input"][0] not in states:
            raise ValueError(f"{operation.type} of no state")


def _scalar(array: NDArray[Any]) -> Value:
    scalar: bool | int | float = array.item()
    return scalar


def _tensor_type(value_type: Any) -> TensorType:
    """Return the type of a tensor, or of the tensor that a state holds."""
    is_state = value_type.WhichOneof("type") == "stateType"
    tensor = (value_type.stateType.wrappedType if is_state else value_type).tensorType
    shape = tuple(
        each.constant.size if each.WhichOneof("dimension") == "constant" else None for each in tensor.dimensions
    )
    return TensorType(MIL_pb2.DataType.Name(tensor.dataType).lower(), shape)
