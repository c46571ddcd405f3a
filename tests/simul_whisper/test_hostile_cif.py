"""End-of-word weights that a stranger made: read or refused in one line, and never a pickle that does anything."""

import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from simul_whisper.cif import WordBoundary
from simul_whisper.errors import WeightsError
from tests.hostile_files import damaged, damaged_json, grown_mb, only_our_errors
from tests.properties import examples

N_STATE = 8
WEIGHT, BIAS = np.linspace(-1, 1, N_STATE, dtype=np.float32)[None], np.array([0.5], np.float32)
_MOST_MB = 50


def _short(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _tensor(key: str, n: int) -> bytes:
    """The operations that make one tensor, as PyTorch writes them."""
    storage = b"((" + _short("storage") + b"ctorch\nFloatStorage\n" + _short(key) + _short("cpu") + b"K" + bytes([n])
    shape = b"K\x01K" + bytes([n]) + b"\x86"
    rest = b"\x89ccollections\nOrderedDict\n)RtR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + storage + b"tQK\0" + shape + shape + rest


TRUE = b"\x80\x02ccollections\nOrderedDict\n)R(" + _short("weight") + _tensor("0", N_STATE) + _short("bias")
TRUE += _tensor("1", 1) + b"u}" + _short("_metadata") + b"}sb."


def write_pt(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cif/data.pkl", pickled)
        archive.writestr("cif/data/0", WEIGHT.tobytes())
        archive.writestr("cif/data/1", BIAS.tobytes())
    return path


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("cif")
    np.savez(folder / "cif.npz", weight=WEIGHT, bias=BIAS)
    save_file({"weight": WEIGHT, "bias": BIAS}, folder / "cif.safetensors")
    write_pt(folder / "cif.pt", TRUE)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_the_true_files_are_read(suffix: str, true: dict[str, Path]) -> None:
    boundary = WordBoundary(true[suffix], N_STATE)
    assert boundary.fires_at_end(np.full((9, N_STATE), 2, np.float32), 9) in (True, False)


class _Runs:
    """Pickles as a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = call, arguments

    def __reduce__(self) -> Any:
        return self.call


def _pickles(command: str) -> Iterable[tuple[str, bytes]]:
    """What would run a command, or take all memory, by every operation of pickle that calls or looks up anything."""
    os_system, argument = b"cposix\nsystem\n", _short(command)
    for protocol in range(6):
        yield f"reduce {protocol}", pickle.dumps(_Runs(os.system, command), protocol)
        nested = OrderedDict(weight=[({"x": (_Runs(os.system, command),)},)])
        yield f"nested {protocol}", pickle.dumps(nested, protocol)
        yield f"eval {protocol}", pickle.dumps(_Runs(eval, f"__import__('os').system({command!r})"), protocol)
    yield "global", b"\x80\x02" + os_system + argument + b"\x85R."
    yield "stack global", b"\x80\x04" + _short("posix") + _short("system") + b"\x93" + argument + b"\x85R."
    yield "inst", b"(" + argument + b"iposix\nsystem\n."
    yield "obj", b"(" + os_system + argument + b"o."
    yield "newobj", b"\x80\x02" + os_system + argument + b"\x85\x81."
    yield "newobj_ex", b"\x80\x04" + os_system + argument + b"\x85}\x92."
    yield "ext1", b"\x80\x02\x82\x01."
    yield "persid", b"Pposix.system\n."
    yield "after the true dict", TRUE[:-1] + b"0" + os_system + argument + b"\x85R."
    yield "in a key", b"\x80\x02}" + os_system + argument + b"\x85RK\x01s."
    build = b"ctorch._utils\n_rebuild_tensor_v2\nN}" + _short("__code__") + b"Ns\x86b."
    yield "build on a function", b"\x80\x02" + build
    yield "build on a class", b"\x80\x02ctorch\nFloatStorage\n}" + _short("__new__") + b"Nsb."
    yield "an allowed name's inside", b"\x80\x04ctorch\nFloatStorage.__init__.__globals__\n."
    yield "a call of the storage", b"\x80\x02ctorch\nFloatStorage\n" + _short("1") + b"\x85R."
    yield "a call of the dict", b"\x80\x02ccollections\nOrderedDict\n" + _short("x") + b"\x85R."
    yield "a memo of 2^32", b"\x80\x02}r\xff\xff\xff\xff."
    yield "a text of 2^60", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x."
    yield "bytes of 2^60", b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b"x."
    yield "a hash that takes for ever", b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"}h\x00Ns."
    yield "a billion laughs", b"\x80\x02}" + _short("weight") + b")q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"s."
    yield "a dict that holds itself", b"\x80\x02}q\x00" + _short("weight") + b"h\x00s."
    yield "deep tuples", b"\x80\x02)" + b"\x85" * 500_000 + b"."
    yield "deep marks", b"\x80\x02" + b"(" * 500_000 + b"."
    yield "a storage elsewhere", TRUE.replace(_short("0"), _short("../../../etc/passwd"))
    yield "a tensor beyond its storage", TRUE.replace(b"tQK\0K\x01K\x08", b"tQK\1K\x01K\x08")
    yield "nothing", b""
    yield "no end", TRUE[:-1]


PICKLES = dict(_pickles("touch was_run"))


@pytest.mark.parametrize("name", PICKLES)
def test_no_pickle_does_anything(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"cif\.pt: (not a CIF checkpoint|CIF weight)") as refused:
        WordBoundary(write_pt(tmp_path / "cif.pt", PICKLES[name]), N_STATE)
    assert str(refused.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["cif.pt"]


def test_hostile_pickles_take_no_memory(tmp_path: Path) -> None:
    files = [write_pt(tmp_path / f"{n}.pt", pickled) for n, pickled in enumerate(PICKLES.values())]
    program = """from simul_whisper.cif import WordBoundary; from simul_whisper.errors import WeightsError
for path in sys.argv[1:]:
    try:
        WordBoundary(path, 8)
    except WeightsError:
        pass
"""
    assert grown_mb(program, *files) < _MOST_MB


_OPERATIONS = [each.code.encode("latin-1") for each in pickletools.opcodes]
_GROUPS = _short("weight"), b"K\x01", b"cposix\nsystem\n", _tensor("0", N_STATE), b"q\0h\0"
_PIECES = st.sampled_from([*_OPERATIONS, *_GROUPS])


@examples(400)
@given(pickled=st.one_of(damaged(TRUE), st.lists(_PIECES, max_size=30).map(b"".join)))
def test_any_pickle_is_read_or_refused(pickled: bytes, tmp_path: Path) -> None:
    with only_our_errors():
        WordBoundary(write_pt(tmp_path / "cif.pt", pickled), N_STATE)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
@examples(120)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(suffix: str, data: st.DataObject, true: dict[str, Path]) -> None:
    whole = true[suffix].read_bytes()
    if suffix == ".safetensors" and data.draw(st.booleans()):
        length = int.from_bytes(whole[:8], "little")
        header = data.draw(damaged_json(whole[8 : 8 + length].decode()))
        content = len(header).to_bytes(8, "little") + header + whole[8 + length :]
    else:
        content = data.draw(damaged(whole))
    file = true[suffix].with_name(f"damaged{suffix}")
    file.write_bytes(content)
    with only_our_errors(), np.errstate(all="raise", under="ignore"):
        WordBoundary(file, N_STATE).fires_at_end(np.full((9, N_STATE), 30, np.float32), 9)


@pytest.mark.parametrize("weight", [np.nan, np.inf, 1e30])
def test_numbers_that_nothing_was_trained_to_are_refused(weight: float, tmp_path: Path) -> None:
    np.savez(tmp_path / "cif.npz", weight=np.full((1, N_STATE), weight, np.float32), bias=BIAS)
    with pytest.raises(WeightsError, match="no numbers between"):
        WordBoundary(tmp_path / "cif.npz", N_STATE)
