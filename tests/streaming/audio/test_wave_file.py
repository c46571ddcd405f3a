"""WAV files that grow are whole at any moment, whatever they are told."""

import io
import os
import wave
from pathlib import Path

import pytest

from streaming.audio.wave_file import WaveFile, wave_header


def frames_of(data: bytes) -> tuple[int, bytes]:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22_050)
        return file.getnframes(), file.readframes(file.getnframes())


def test_it_is_whole_after_each_piece(tmp_path: Path) -> None:
    path, said = tmp_path / "a.wav", b""
    file = WaveFile(path, 22_050)
    assert frames_of(path.read_bytes()) == (0, b"")
    for piece in (b"ab", b"", b"cdef"):
        file.write(piece)
        said += piece
        assert frames_of(path.read_bytes()) == (len(said) // 2, said)
    assert file.n_samples == 3
    file.close()


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(OSError, match="which needs a file"):
        WaveFile(Path(os.devnull), 22_050)


@pytest.mark.parametrize(
    ("n_bytes", "expected"), [(1 << 33, (0xFFFF_FFFF - 44) // 2), (None, 0xFFFF_FFFF // 2), (6, 3)]
)
def test_a_header_says_as_much_as_its_fields_hold(n_bytes: int | None, expected: int) -> None:
    assert frames_of(wave_header(22_050, n_bytes))[0] == expected
