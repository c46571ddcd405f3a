"""The border through which all audio enters."""

from typing import Any

import numpy as np
import pytest

from simul_whisper.audio import AudioChunk, as_samples
from simul_whisper.errors import AudioFormatError


@pytest.mark.parametrize(
    "audio",
    [
        [0.0, -0.5, 1.0],
        np.array([0.0, -0.5, 1.0]),
        np.array([0.0, -0.5, 1.0], np.float16),
        np.array([0.0, 9.0, -0.5, 9.0, 1.0, 9.0], np.float32)[::2],
    ],
)
def test_any_floats_become_contiguous_float32(audio: Any) -> None:
    samples = as_samples(audio)
    assert samples.dtype == np.float32
    assert samples.flags.c_contiguous
    assert samples.tolist() == [0.0, -0.5, 1.0]


@pytest.mark.parametrize("audio", [[], np.zeros(0), np.zeros(0, np.int16)])
def test_nothing_is_no_samples(audio: Any) -> None:
    samples = as_samples(audio)
    assert samples.shape == (0,)
    assert samples.dtype == np.float32


def test_a_little_over_full_scale_is_kept() -> None:
    assert as_samples([1.5, -2.0]).tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("audio", "complaint"),
    [
        (np.array([0, 100], np.int16), "int16, expected float32.*divide"),
        ([0, 1], "int64, expected float32"),
        (["a"], "expected float32"),
        ([True], "bool, expected float32"),
        (b"\x00\x00", "expected float32"),
        (np.array([1j]), "complex128"),
        (np.zeros((2, 3)), r"shape \(2, 3\).*mix down"),
        (0.5, r"shape \(\)"),
        (np.zeros((0, 2)), "shape"),
        ([0.0, np.nan], "NaN"),
        ([0.0, np.inf], "NaN or infinite"),
        ([0.0, -np.inf], "NaN or infinite"),
        (np.array([-32768.0, 5.0]), "up to 32768.*divide"),
    ],
)
def test_what_is_not_mono_samples_is_refused(audio: Any, complaint: str) -> None:
    with pytest.raises(AudioFormatError, match=complaint):
        as_samples(audio)


def test_a_chunk_ends_where_the_next_begins() -> None:
    assert AudioChunk(np.zeros(7, np.float32), 100).end_sample == 107
