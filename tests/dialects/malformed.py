"""Messages as somebody hostile sends them: nearly right, and not at all."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Message = str | bytes

_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**17, 1e308, -0.0, float("nan"), float("inf"))
_TEXTS = ("", "\0", "\ud800", "é" * 300, "../../etc/passwd", "A" * 5_000, "null", "1e999", "en", "==", "AAA")
_VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from([*_NUMBERS, *_TEXTS]) | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
# What readers of JSON stumble over.
_TRAPS = ("[" * 5_000, '{"type":' * 2_000, '{"type":1e400}', "9" * 5_000, "{}", "[]", "null", '"', '{"type":"\\ud800"}')
_RAW = st.sampled_from(_TRAPS) | st.text() | st.binary()


@st.composite
def near(draw: st.DrawFn, examples: Sequence[Message]) -> Message:
    """Return one of the examples with something wrong in it, or something else altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(_RAW)
    example = draw(st.sampled_from(examples))
    if isinstance(example, bytes):
        head, line_end, rest = example.partition(b"\n")
        is_line = line_end and head.startswith(b"{")
        return _line(draw, head) + line_end + rest if is_line and draw(st.booleans()) else _damaged(draw, example)
    if not example.startswith("{") or draw(st.integers(0, 4)) == 0:
        return _damaged(draw, example.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
    return json.dumps(_changed(draw, json.loads(example)))


def _line(draw: st.DrawFn, line: bytes) -> bytes:
    return json.dumps(_changed(draw, json.loads(line))).encode()


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """Put something else somewhere in it, take something out, or put something in."""
    if not isinstance(value, dict) or not value or draw(st.integers(0, 9)) == 0:
        return draw(_VALUES)
    key = draw(st.sampled_from(sorted(value)))
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return {each: value[each] for each in value if each != key}
    if kind == 1:
        return {**value, draw(st.text(max_size=8)): draw(_VALUES)}
    return {**value, key: _changed(draw, value[key])}


def _damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut some bytes out, and put others in."""
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, len(data)))
    return data[:start] + draw(st.binary(max_size=16)) + data[end:]
