"""Kokoro's speakers: their languages, and files with their styles, whole and damaged."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from simul_whisper import WeightsError
from simul_whisper.voices.styles import STYLE_SHAPE, languages_of, read_archive, read_folder, speaker_of


def style(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=STYLE_SHAPE).astype(np.float32)


def archive(**members: NDArray[np.generic]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **members)  # type: ignore[arg-type]
    return stream.getvalue()


def bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("af_heart.npy", bytes(64 << 20))
    return stream.getvalue()


def pickled() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, af_heart=np.array([Path("x")], dtype=object))
    return stream.getvalue()


def with_member(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as members:
        members.writestr("af_heart.npy", content)
    return stream.getvalue()


def with_header(said: str) -> bytes:
    """An array of the right size, whose header says something else."""
    return with_member(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said.encode() + style(0).tobytes())


def np_header(n: int) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (n,)})
    return stream.getvalue()


def badly_packed() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, af_heart=style(0))
    packed = bytearray(stream.getvalue())
    packed[60:90] = b"\xff" * 30
    return bytes(packed)


def test_a_folder_and_an_archive_say_the_same(tmp_path: Path) -> None:
    styles = {"af_heart": style(0), "ff_siwis": style(1)}
    for name, each in styles.items():
        (tmp_path / f"{name}.bin").write_bytes(each.tobytes())
    (tmp_path / "README.bin").write_bytes(b"x")
    (tmp_path / "all.npz").write_bytes(archive(**{name: each[:, None] for name, each in styles.items()}))
    for found in (read_folder(tmp_path), read_archive(tmp_path / "all.npz")):
        assert found.keys() == styles.keys()
        assert all(np.array_equal(found[name], styles[name]) for name in styles)


@pytest.mark.parametrize(
    "made",
    [
        lambda: b"",
        lambda: b"PK\x03\x04" + bytes(99),
        lambda: archive(other=style(0)),
        lambda: archive(af_heart=style(0)[:-1]),
        lambda: archive(af_heart=style(0) * np.float32("nan")),
        lambda: archive(**{f"af_x{n}": np.zeros(1, np.float32) for n in range(300)}),
        lambda: archive(af_heart=style(0))[:-900],
        bomb,
        pickled,
        badly_packed,
        lambda: with_member(b"hello"),
        lambda: with_header("(" * 9_000),
        lambda: with_header("{'descr': '<c16', 'fortran_order': False, 'shape': (63, 512), }"),
        lambda: with_header("{'descr': '<f4', 'fortran_order': True, 'shape': (510, 256), }"),
        # What makes as much room as it says needs 4 TB.
        lambda: with_member(np_header(1 << 40) + bytes(100)),
    ],
    ids=[
        *("empty", "no archive", "no style", "short", "nan", "many", "cut off", "bomb", "pickle", "badly packed"),
        *("no array", "deep", "complex", "by columns", "huge"),
    ],
)
def test_a_damaged_archive_is_refused(made: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "voices.npz").write_bytes(made())
    with pytest.raises(WeightsError, match="not the styles"):
        read_archive(tmp_path / "voices.npz")


def test_a_folder_without_styles_or_with_damaged_ones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected files such as af_heart\.bin"):
        read_folder(tmp_path)
    (tmp_path / "af_heart.bin").write_bytes(bytes(99))
    with pytest.raises(WeightsError, match="got a style of 99 bytes, expected 522240"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("language", "speakers", "expected"),
    [
        ("en", "am_adam af_heart bf_emma", "af_heart"),
        ("en", "jf_alpha jf_gongitsune ff_siwis", "jf_gongitsune"),
        ("fr", "af_heart ff_siwis", "ff_siwis"),
        ("fr", "af_heart jf_alpha", None),
        ("es", "jf_alpha em_alex ef_dora", "ef_dora"),
        ("en", "", None),
    ],
)
def test_who_speaks_a_language(language: str, speakers: str, expected: str | None) -> None:
    assert speaker_of(language, speakers.split()) == expected


def test_a_language_without_a_speaker_is_not_spoken() -> None:
    assert languages_of(["jf_alpha"]) == ("en", "es")
    assert languages_of(["jf_alpha", "if_sara"]) == ("en", "es", "it")
    assert languages_of([]) == ()
