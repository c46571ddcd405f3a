"""What a model's program is made of, and what in it is known to keep work off the Neural Engine.

Core ML decides on the device, and Apple documents little of how. Flagged is what is on record and no more: float16
alone (coremltools guide, "Typed Execution"); of a range of shapes the default alone (Apple, forum thread 724930); no
gathers, recurrent layers, custom layers or dilated convolutions (github.com/hollance/neural-engine, which calls its
list incomplete); reshapes and transposes copy memory (Apple, "Deploying Transformers on the Apple Neural Engine").
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simul_whisper.coreml.description import compiled_metadata, describe, program_text
from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import shown

if TYPE_CHECKING:
    from simul_whisper.coreml.spec import Program

_OFF_ENGINE = frozenset("gather gather_nd gather_along_axis lstm gru rnn custom".split())
_COPIES = frozenset("reshape transpose".split())
_PRODUCTS = frozenset("conv linear matmul einsum scaled_dot_product_attention".split())
_MAX_RANK = 5
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
    flags: list[str] = []
    if described.compiled:
        steps = list(_compiled_steps(path))
    else:
        from simul_whisper.coreml.spec import read_program

        program = read_program(path)
        steps = [_step(program, operation) for operation in program.operations]
        flags += _operand_flags(program)
    for ranged in (each for each in described.inputs if each.ranges):
        default = " or ".join(map(str, ranged.shapes))
        flags.append(
            f"{ranged.name} has a range of shapes, of which the Neural Engine can run the default alone: {default}"
        )
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


def _operand_flags(program: "Program") -> list[str]:
    """Return what the operands of the operations tell."""
    dilated = dynamic = 0
    for operation in program.operations:
        operands = {parameter: program.constants.get(names[0]) for parameter, names in operation.inputs.items()}
        dilations = operands.get("dilations")
        dilated += isinstance(dilations, np.ndarray) and bool((dilations > 1).any())
        dynamic += operation.type == "reshape" and operands.get("shape") is None
    flags = [f"not run by the Neural Engine: conv with dilation (x{dilated})"] if dilated else []
    return [*flags, f"shapes computed while it runs: reshape (x{dynamic})"] if dynamic else flags


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} (x{count})" for name, count in counts.most_common())
