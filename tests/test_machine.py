"""What is read of the machine, and what is made of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from simul_whisper.encoders import ctranslate2 as encoder
from simul_whisper.machine import give_back_memory, processor_words, reuse_large_blocks

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


def test_memory_functions_do_no_harm_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back_memory()
    reuse_large_blocks()
    monkeypatch.setattr("sys.platform", "win32")
    give_back_memory()


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
