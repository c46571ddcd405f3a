"""Memory of a mapped file is given back, and what it held is read again."""

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.memory import by_file
from simul_whisper.weights.mapped import MappedFile, give_back


def in_memory(file: Path) -> int:
    return by_file(Path("/proc/self/smaps").read_text("utf-8"))[file.name]


def test_what_is_given_back_is_read_again(tmp_path: Path) -> None:
    numbers, file = np.arange(1 << 20, dtype=np.float32), tmp_path / "numbers.bin"
    file.write_bytes(b"x" + numbers.tobytes())
    mapped = MappedFile(file)
    mapped.skip(1)
    stored = mapped.array("<f4", len(numbers))
    middle = stored.reshape(1024, 1024)[100:900].swapaxes(0, 1)
    np.testing.assert_array_equal(stored, numbers)
    if sys.platform == "linux":
        assert in_memory(file) >= numbers.nbytes
    give_back(middle)
    if sys.platform == "linux":
        assert in_memory(file) <= numbers.nbytes // 4 + 2 * mmap.PAGESIZE
    np.testing.assert_array_equal(stored, numbers)


@pytest.mark.parametrize("array", [np.zeros(0), np.ones((3, 4)).T, np.frombuffer(b"12345678", "<u2")])
def test_what_is_in_no_file_stays(array: np.ndarray) -> None:
    before = array.copy()
    give_back(array)
    np.testing.assert_array_equal(array, before)
