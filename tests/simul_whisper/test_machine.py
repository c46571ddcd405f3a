"""What is read of the machine, and what is made of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import Mock

import pytest

from simul_whisper.encoders import ctranslate2 as encoder
from simul_whisper.machine import available_memory, give_back_memory, processor_words, reuse_large_blocks

ISA = "CT2_FORCE_CPU_ISA"


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    processor_words.cache_clear()
    yield
    processor_words.cache_clear()


def test_a_processor_that_is_not_told_has_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert processor_words() == frozenset()


@pytest.mark.parametrize(("platform", "n_options", "n_trims"), [("linux", 3, 1), ("darwin", 0, 0), ("win32", 0, 0)])
def test_memory_is_left_to_others_than_linux(
    monkeypatch: pytest.MonkeyPatch, platform: str, n_options: int, n_trims: int
) -> None:
    library = Mock()
    monkeypatch.setattr("simul_whisper.machine.ctypes.CDLL", lambda _: library)
    monkeypatch.setattr("sys.platform", platform)
    reuse_large_blocks()
    give_back_memory()
    assert (library.mallopt.call_count, library.malloc_trim.call_count) == (n_options, n_trims)


def test_a_c_library_without_these_functions_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Mock(spec=[])
    monkeypatch.setattr("simul_whisper.machine.ctypes.CDLL", lambda _: library)
    reuse_large_blocks()
    give_back_memory()
    assert not library.mock_calls


@pytest.mark.parametrize(("left_out", "expected"), [(set(), "AVX512"), ({"AuthenticAMD"}, None), ({"avx512vl"}, None)])
def test_avx512_is_asked_for_where_it_was_measured(
    monkeypatch: pytest.MonkeyPatch, left_out: set[str], expected: str | None
) -> None:
    words = {"fpu", "AuthenticAMD", "avx2", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"} - left_out
    monkeypatch.setattr(encoder, "processor_words", lambda: words)
    # Set and deleted, so that it is afterwards what it was before.
    monkeypatch.setenv(ISA, "AVX2")
    encoder._use_avx512()
    assert os.environ[ISA] == "AVX2"
    monkeypatch.delenv(ISA)
    encoder._use_avx512()
    assert os.environ.get(ISA) == expected


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"/proc/meminfo": "MemTotal: 900 kB\nMemAvailable:     500 kB\n"}, 500 * 1024),
        ({"/proc/meminfo": "MemAvailable: 500 kB\n", "/sys/fs/cgroup/memory.max": "max\n"}, 500 * 1024),
        (
            {
                "/proc/meminfo": "MemAvailable: 500 kB\n",
                "/sys/fs/cgroup/memory.max": "70000\n",
                "/sys/fs/cgroup/memory.current": "60000\n",
                "/sys/fs/cgroup/memory.stat": "anon 1\nactive_file 2000\ninactive_file 3000\n",
            },
            15_000,
        ),
        (
            {
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",
                "/proc/meminfo": "MemAvailable: 500 kB\n",
            },
            500 * 1024,
        ),
    ],
)
def test_free_memory_is_what_the_machine_and_the_container_leave(
    files: dict[str, str], free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simul_whisper.machine._lines", lambda path: files.get(path, "").splitlines())
    assert available_memory() == free


def test_where_nothing_is_told_all_memory_is_taken_for_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simul_whisper.machine._lines", lambda _: [])
    assert available_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr("os.sysconf_names", {})
    assert available_memory() is None
