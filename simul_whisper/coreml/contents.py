"""What a model's program is made of, and what in it is known to keep work off the Neural Engine.

Core ML decides on the device, and Apple documents little of how. Flagged is what is on record and no more: float16
alone (coremltools guide, "Typed Execution"); of a range of shapes the default alone (Apple, forum thread 724930); no
gathers, recurrent layers, custom layers or dilated convolutions (github.com/hollance/neural-engine, which calls its
list incomplete); reshapes and transposes copy memory (Apple, "Deploying Transformers on the Apple Neural Engine");
states of other sizes than multiples of 32 fail, and palettes of four bits beside states made by coremltools 9.0 have
crashed (apple/coremltools issues 2631 and 2716).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simul_whisper.coreml.description import Function, compiled_metadata, describe, program_text
from simul_whisper.coreml.states import updates
from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, shown

if TYPE_CHECKING:
    from simul_whisper.coreml.spec import Program

_OFF_ENGINE = frozenset("gather gather_nd gather_along_axis lstm gru rnn custom".split())
_COPIES = frozenset("reshape transpose".split())
_PRODUCTS = frozenset("conv conv_transpose linear matmul einsum scaled_dot_product_attention".split())
_MASKING = frozenset("add sub mul select maximum".split())
_MAX_RANK = 5
# Of the last dimension of a state.
_MULTIPLE = 32
_FOUR_BITS = "Palettized (4 bits)"
# coremltools forgets its own note when it makes one package of several functions.
_MADE_BY = "com.github.apple.coremltools.version", "coremltools_version"
_COMPRESSED = "constexpr_"
# A line of a compiled program: tensor<fp16, [1, 384, 1, 1500]> y = conv(...)[name = ...];
_LINE = re.compile(r"[ \t]*(?P<results>tensor<.*?) = (?P<type>[a-z]\w*)\(")
_RESULT = re.compile(r"tensor<(?P<dtype>\w+), \[(?P<sizes>[^][]*)\]>")
# More than any program has.
_MOST_COUNTED = 1 << 17
_DTYPES = {"fp16": "float16", "fp32": "float32"}


class NumberType(Enum):
    """What products are computed in; COMPRESSED: weights of fewer bits are expanded first."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    COMPRESSED = "compressed weights"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Step:
    """One operation: its type, and the type and rank of each result; none of these where only names are known."""

    type: str
    dtypes: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contents:
    """histogram: operations by type, without constants, most frequent first. flags: sentences, none if all is well."""

    histogram: dict[str, int]
    number_type: NumberType
    flags: tuple[str, ...]


def contents(path: Path) -> Contents:
    """Return what is in an `.mlpackage` or `.mlmodelc`. Raises as `describe` does."""
    described = describe(path)
    functions = described.functions or (described.function(),)
    flags: list[str] = []
    if described.compiled:
        steps = list(_compiled_steps(path))
        has_palettes = _FOUR_BITS in described.metadata.get("storagePrecision", "")
    else:
        from simul_whisper.coreml.spec import read_program

        programs = [read_program(path, each.name) for each in functions]
        steps = [_step(program, operation) for program in programs for operation in program.operations]
        flags += _operand_flags(programs)
        has_palettes = any(map(_has_four_bit_palettes, programs))
    for ranged in dict.fromkeys(each for function in functions for each in function.inputs if each.ranges):
        default = " or ".join(map(str, ranged.shapes))
        flags.append(
            f"{ranged.name} has a range of shapes, of which the Neural Engine can run the default alone: {default}"
        )
    versions = [described.metadata[name] for name in _MADE_BY if name in described.metadata]
    flags += _state_flags(functions, versions[0] if versions and has_palettes else "")
    histogram = Counter(step.type for step in steps)
    return Contents(dict(histogram.most_common()), _number_type(steps), (*_flags(steps), *flags))


def _step(program: "Program", operation: Any) -> Step:
    types = [program.types[name] for name in operation.outputs]
    return Step(operation.type, tuple(each.dtype for each in types), tuple(len(each.shape) for each in types))


def _compiled_steps(path: Path) -> Iterator[Step]:
    """Read the program's text; where there is none, the counts that Apple's compiler leaves."""
    text = program_text(path)
    for line in filter(None, map(_LINE.match, text.splitlines())):
        results = list(_RESULT.finditer(line["results"]))
        if line["type"] != "const":
            dtypes = tuple(_DTYPES.get(each["dtype"], each["dtype"]) for each in results)
            yield Step(line["type"], dtypes, tuple(len(each["sizes"].split(",")) for each in results))
    if not text:
        for name, count in _counts(path).items():
            # "Ios16.constexprLutToDense" is constexpr_lut_to_dense.
            plain = re.sub(r"(?<!^)(?=[A-Z])", "_", name.rpartition(".")[2]).lower()
            yield from [Step(plain)] * count


def _counts(path: Path) -> dict[str, int]:
    """Return how often each operation is there, as Apple's compiler notes it. Raises WeightsError."""
    counts = compiled_metadata(path).get("mlProgramOperationTypeHistogram") or {}
    values: list[Any] = list(counts.values()) if isinstance(counts, dict) else [None]
    if not all(type(value) is int and value >= 0 for value in values) or sum(values) > _MOST_COUNTED:
        raise WeightsError(f"{path}: got the counts {shown(counts)} of operations, expected numbers by name")
    found: dict[str, int] = counts
    return found


def _number_type(steps: Iterable[Step]) -> NumberType:
    if any(step.type.startswith(_COMPRESSED) for step in steps):
        return NumberType.COMPRESSED
    dtypes = {dtype for step in steps if step.type in _PRODUCTS for dtype in step.dtypes}
    if not dtypes:
        return NumberType.UNKNOWN
    return NumberType.FLOAT32 if "float32" in dtypes else NumberType.FLOAT16


def _flags(steps: Iterable[Step]) -> Iterator[str]:
    """Yield what the types and ranks of the operations tell."""
    steps = [step for step in steps if not step.type.startswith(_COMPRESSED)]
    wide = sum(step.type != "cast" and "float32" in step.dtypes for step in steps)
    if wide:
        yield f"in float32, which the Neural Engine does not have: {wide} of {len(steps)} operations"
    off = Counter(step.type for step in steps if step.type in _OFF_ENGINE)
    if off:
        yield f"not run by the Neural Engine: {_counted(off)}"
    deep = Counter(step.type for step in steps if any(rank > _MAX_RANK for rank in step.ranks))
    if deep:
        yield f"tensors of more than {_MAX_RANK} dimensions: {_counted(deep)}"
    copies = Counter(step.type for step in steps if step.type in _COPIES)
    if copies.total() > 1:
        yield f"memory copied between layouts, which may cost time: {_counted(copies)}"


def _operand_flags(programs: Sequence["Program"]) -> Iterator[str]:
    """Yield what the operands of the operations tell."""
    dilated, dynamic, infinite, lost = 0, 0, Counter[str](), set[str]()
    for program in programs:
        lost |= updates(program.operations, program.states, program.outputs).lost
        for operation in program.operations:
            operands = {parameter: program.constants.get(names[0]) for parameter, names in operation.inputs.items()}
            dilations = operands.get("dilations")
            dilated += isinstance(dilations, np.ndarray) and bool((dilations > 1).any())
            dynamic += operation.type == "reshape" and operands.get("shape") is None
            if operation.type in _MASKING and any(map(_is_infinite, operands.values())):
                infinite[operation.type] += 1
    if dilated:
        yield f"not run by the Neural Engine: conv with dilation (x{dilated})"
    if dynamic:
        yield f"shapes computed while it runs: reshape (x{dynamic})"
    if infinite:
        yield f"masks of infinity, of which devices have made NaN where -1e4 does as well: {_counted(infinite)}"
    if lost:
        yield f"written from a value that is older than the last write, which is lost: {_names(lost)}"


def _is_infinite(value: Any) -> bool:
    is_number = isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")
    return is_number and bool(np.isinf(value).any())


def _state_flags(functions: Sequence[Function], four_bits_by: str) -> Iterator[str]:
    """four_bits_by: the version of coremltools where there are palettes of four bits, else empty."""
    states = dict.fromkeys(state for function in functions for state in function.states)
    odd = {state.name for state in states if any(shape[-1] % _MULTIPLE for shape in state.shapes)}
    if odd:
        yield f"states that the Neural Engine does not take, as their last size is no multiple of 32: {_names(odd)}"
    if states and four_bits_by.startswith("9.0"):
        yield "palettes of four bits beside states, made by coremltools 9.0, have crashed after some 100 predictions"
    if len({frozenset(function.states) for function in functions}) > 1:
        yield "its functions have different states: whether a device lets them share one is unknown"


def _has_four_bit_palettes(program: "Program") -> bool:
    tables = (
        program.constants.get(operation.inputs["lut"][0])
        for operation in program.operations
        if operation.type == "constexpr_lut_to_dense" and "lut" in operation.inputs
    )
    # (*groups, n_palette, n_vector) where there are states.
    return any(isinstance(table, np.ndarray) and table.ndim > 1 and table.shape[-2] == 1 << 4 for table in tables)


def _names(names: Iterable[str]) -> str:
    return one_line(", ".join(sorted(names)))


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} (x{count})" for name, count in counts.most_common())
