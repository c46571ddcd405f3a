"""Read the members of a zip file, as .npz is, without letting it take more memory than it may.

What an archive claims is checked before anything is unpacked: how long its list of members is, and what they become.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simul_whisper.foreign_files import MOST_JSON_BYTES, one_line, open_regular, shown

# Weights are noise, and hardly become smaller.
_MOST_EXPANSION = 8
_SPARE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, OverflowError, IndexError, KeyError),
)


class Archive:
    """An open zip file. Raises OSError or ValueError, as its methods do."""

    def __init__(self, path: Path) -> None:
        with _damages():
            self._stream = _Limited(open_regular(path).detach())
            try:
                self._zip = zipfile.ZipFile(self._stream)
                self._check_sizes()
            except BaseException:
                self._stream.close()
                raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._stream.close()

    @property
    def names(self) -> list[str]:
        return self._zip.namelist()

    def read(self, name: str) -> bytearray:
        """Return the bytes of a member."""
        with _damages():
            member = self._zip.getinfo(name)
            content = bytearray(member.file_size)
            view = memoryview(content)
            at = 0
            with self._zip.open(member) as stream:
                while piece := stream.read(_CHUNK_BYTES):
                    view[at : at + len(piece)] = piece
                    at += len(piece)
        if at < member.file_size:
            raise ValueError(f"{shown(name)} is truncated: got {at} bytes, expected {member.file_size}")
        return content

    def extract(self, directory: Path) -> None:
        """Write all members into a directory, and nowhere else."""
        with _damages():
            self._zip.extractall(directory)

    def _check_sizes(self) -> None:
        members = self._zip.infolist()
        if any(member.compress_type not in _METHODS for member in members):
            raise ValueError("compressed in another way than deflate")
        n_bytes, n_unpacked = self._stream.seek(0, io.SEEK_END), sum(member.file_size for member in members)
        if n_unpacked > _MOST_EXPANSION * n_bytes + _SPARE_BYTES:
            raise ValueError(f"{n_bytes} bytes would become {n_unpacked}, which no weights do")


class _Limited(io.BufferedReader):
    """Refuses to read much at once, which is how `zipfile` reads the list of members."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_JSON_BYTES:
            raise ValueError(f"got a list of members of {size} bytes, expected at most {MOST_JSON_BYTES}")
        return super().read(size)


@contextmanager
def _damages() -> Iterator[None]:
    """Turn what `zipfile` raises for damaged archives into ValueError."""
    try:
        yield
    except _DAMAGES as error:
        raise ValueError(f"a damaged archive: {one_line(error)}") from error
