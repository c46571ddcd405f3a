"""What no package of pip's has, fetched when it is asked for: the styles of Kokoro's 54 speakers, by the program npm.

They are taken from one pinned archive, of which the digest is known; npm goes to the registry that its user has chosen.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from simul_whisper.errors import ConfigError, ModelNotFoundError
from simul_whisper.foreign_files import one_line, read_bytes, shown
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.voices.styles import SPEAKER, STYLE_BYTES
from simul_whisper.weights.cache import cache_home, whole_file

FETCHED = "kokoro"
"""The one name that can be fetched: the styles of its speakers, for `kokoro` itself is installed by pip."""
_PACKAGE, _ARCHIVE = "kokoro-js@1.2.1", "kokoro-js-1.2.1.tgz"
_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
_SIZE_BYTES = 26_887_218
# Whoever waits is told at once that there is no network: npm would try again for 70 s.
_FLAGS = ("--ignore-scripts", "--fetch-retries=0", "--loglevel=error")
_TIMEOUT_S = 600.0
_MOST_COMPLAINT_BYTES = 1 << 20
_MOST_TOLD = 240


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
    sha256: str = _SHA256,
    size_bytes: int = _SIZE_BYTES,
    timeout_s: float = _TIMEOUT_S,
) -> Path:
    """Have npm download the archive, check it, and keep the styles in it. As `fetch_voice`."""
    folder = styles_folder(home)
    progress(Progress(Stage.DOWNLOADING, f"{_PACKAGE} by npm, {size_bytes / 1e6:.0f} MB"))
    try:
        content = _packed(folder, size_bytes, timeout_s)
    except ModelNotFoundError as error:
        progress(Progress(Stage.DOWNLOAD_FAILED, str(error), error=error))
        raise
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelNotFoundError(
            f"{_PACKAGE}: npm got {len(content)} bytes of another digest than expected; nothing was kept"
        )
    try:
        _unpack(content, folder)
    except OSError as error:
        raise ModelNotFoundError(
            f"{folder}: cannot be written: {error.strerror}; set SIMUL_WHISPER_CACHE to a writable directory"
        ) from error
    return folder


def _packed(folder: Path, size_bytes: int, timeout_s: float) -> bytes:
    """Return the archive as npm gets it, at most so many bytes. Raises ModelNotFoundError."""
    npm = shutil.which("npm")
    if npm is None:
        raise ModelNotFoundError(
            "the styles of kokoro's speakers are fetched by the program npm, which is not installed; on Debian: apt "
            f"install npm; on macOS: brew install node; or put such files as af_heart.bin into {folder} yourself"
        )
    # Not in the user's folder, which may be a project with settings of its own.
    with TemporaryDirectory() as name:
        _run(npm, Path(name), timeout_s)
        try:
            return read_bytes(Path(name, _ARCHIVE), size_bytes)
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(
                f"{_PACKAGE}: npm made no {_ARCHIVE} of {size_bytes} bytes: {one_line(error)}"
            ) from error


def _run(npm: str, folder: Path, timeout_s: float) -> None:
    """Let npm download into a folder. Raises ModelNotFoundError."""
    command = [npm, "pack", _PACKAGE, "--pack-destination", str(folder), *_FLAGS]
    complaint = folder / "complaint"
    try:
        # A file, for what npm has started may hold a pipe open when npm itself was stopped.
        with complaint.open("wb") as stderr:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=folder,
                timeout=timeout_s,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired as error:
        raise ModelNotFoundError(
            f"npm did not fetch {_PACKAGE} within {timeout_s:g} s, and was stopped; try it again later"
        ) from error
    except OSError as error:
        raise ModelNotFoundError(f"npm does not start: {error.strerror}") from error
    if status:
        raise ModelNotFoundError(
            f"npm could not fetch {_PACKAGE}: {_told(complaint) or f'exit status {status}'}; is there a network, and "
            "does the registry that npm is set to have it?"
        )


def _told(complaint: Path) -> str:
    """Return in one line what npm says of its failure, without where in npm it happened."""
    with complaint.open("rb") as stream:
        lines = stream.read(_MOST_COMPLAINT_BYTES).decode(errors="replace").splitlines()
    plain = (line.removeprefix("npm ").removeprefix("error").removeprefix("ERR!").strip() for line in lines)
    return one_line("; ".join(line for line in plain if line and not line.startswith("at ")), _MOST_TOLD)


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
