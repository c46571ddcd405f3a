"""Files as a stranger may have made them: strategies that damage true ones, and what may come of reading them."""

import copy
import json
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from simul_whisper import SimulWhisperError

_MOST_SAID = 1000
_EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**40, 2**63, 10**400, 0.5, -1e308, float("nan"), float("inf")),
    *("", "x", "\ud800", "\0", "a\nb\x1b[31m", "../../x", "/etc/passwd", "x" * 5000),
    *([], {}, [[]], [[0, 0]], [0], [2**63, 2**63], [0] * 100, {"": {}}),
)


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Let what is read be refused, in one short line that can be printed. Any other error fails the test."""
    try:
        yield
    except SimulWhisperError as error:
        said = str(error)
        assert said.isprintable(), said
        assert len(said) < _MOST_SAID


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file that was cut off, overwritten, filled up or put together from its own parts."""
    at, end = draw(st.integers(0, len(whole))), draw(st.integers(0, len(whole)))
    # What is at the start of a file decides more than the rest.
    early = draw(st.integers(0, min(len(whole), 600)))
    size, code = draw(st.sampled_from([(1, "B"), (2, "H"), (4, "I"), (8, "Q")]))
    number = struct.pack(f"<{code}", draw(st.sampled_from(_EXTREMES)) % 256**size)
    few = draw(st.binary(max_size=12))
    ways = (
        whole[:at],
        whole[:early] + number + whole[early + size :],
        whole[:at] + number + whole[at + size :],
        whole[:early] + few + whole[early + len(few) :],
        whole[:at] + few + whole[at:],
        whole[:at] + whole[end:],
    )
    return draw(st.sampled_from(ways))


@st.composite
def damaged_json(draw: st.DrawFn, whole: str) -> bytes:
    """JSON of which a value or two are others, missing, or called otherwise."""
    values = json.loads(whole)
    for _ in range(draw(st.integers(1, 2))):
        values = draw(changed(values))
    return json.dumps(values).encode()


@st.composite
def damaged_file(draw: st.DrawFn, file: Path) -> bytes:
    """A file of a model, of which the JSON may be damaged as such: all of it, or the header of safetensors."""
    whole = file.read_bytes()
    if file.suffix == ".json" and draw(st.booleans()):
        return draw(damaged_json(whole.decode()))
    if file.suffix == ".safetensors" and draw(st.booleans()):
        length = int.from_bytes(whole[:8], "little")
        header = draw(damaged_json(whole[8 : 8 + length].decode()))
        return len(header).to_bytes(8, "little") + header + whole[8 + length :]
    return draw(damaged(whole))


@st.composite
def changed(draw: st.DrawFn, values: Any) -> Any:
    """A value of JSON, changed in one place."""
    values = copy.deepcopy(values)
    places = list(_places(values))
    other = draw(st.sampled_from(_VALUES))
    if not places:
        return other
    container, key = places[draw(st.integers(0, len(places) - 1))]
    way = draw(st.sampled_from(["replace", "replace", "remove", "rename", "copy"]))
    if way == "replace":
        container[key] = other
    elif way == "copy":
        source, name = places[draw(st.integers(0, len(places) - 1))]
        container[key] = copy.deepcopy(source[name]) if name in _keys(source) else other
    else:
        value = container.pop(key)
        if way == "rename" and isinstance(container, dict):
            container[draw(st.sampled_from(["", "x", "\ud800", "a\nb", "../x", "x" * 5000]))] = value
    return values


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of every value; of a long list, some."""
    for key in _keys(values):
        yield values, key
        yield from _places(values[key])


def _keys(values: Any) -> Sequence[Any]:
    if isinstance(values, dict):
        return list(values)
    return range(min(len(values), 8)) if isinstance(values, list) else ()


def grown_mb(program: str, *arguments: object) -> float:
    """Run a program in a process of its own, after its first line, which imports; return the MB that it then grew by.

    On Linux it may not even ask for more than 1 GB.
    """
    imports, _, rest = program.partition("\n")
    child = "\n".join([imports, _MEASURING, rest, 'print("grown:", (peak() - before) / 1e6)'])
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", child, *map(str, arguments)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.rpartition("grown:")[2])


# On Linux getrusage tells the peak of the process that started this one, if that was higher.
_MEASURING = """
import re, resource, sys
def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(re.search("VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1])
if sys.platform == "linux":
    n_pages = int(open("/proc/self/statm").read().split()[0])
    limit = n_pages * resource.getpagesize() + (1 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = peak()
"""
