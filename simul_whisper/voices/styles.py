"""Kokoro's speakers: which languages they speak, and their styles, as others publish
them: a folder of .bin files, or one archive of NumPy's.

They may be anybody's files: all is read within bounds.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line, read_bytes

Style = NDArray[np.float32]
STYLE_SHAPE = 510, 256
"""float32: a vector for each number of phonemes."""
STYLE_BYTES = 4 * 510 * 256
SPEAKER = re.compile(r"[a-z]{2}_[a-z0-9]{1,24}")
"""Their names: the first letter is of the language, the second f or m."""
LANGUAGES = ("en", "es", "fr", "hi", "it", "pt")
"""Whisper's codes. Japanese and Chinese, which Kokoro speaks too, espeak-ng does not read well enough."""
_LETTERS = {"en": "ab", "es": "e", "fr": "f", "hi": "h", "it": "i", "pt": "p"}
BRITISH = "b"
# Whisper heard every word of these from Japanese speakers, and every second or third word not of the other languages.
_SPOKEN_BY_ALL = ("en", "es")
_FIRST_OF_ALL = ("af_heart", "jf_gongitsune")
_MOST_SPEAKERS = 256
_MOST_MEMBER_BYTES = STYLE_BYTES + 4096
_MOST_ARCHIVE_BYTES = _MOST_SPEAKERS * _MOST_MEMBER_BYTES
_MEMBER, _MAGIC = ".npy", b"\x93NUMPY"


def speaker_of(language: str, speakers: Iterable[str]) -> str | None:
    """Return who speaks a language best; None where none of them speaks it so that it is understood."""
    letters = tuple(_LETTERS[language])
    fitting = [each for each in speakers if each.startswith(letters) or language in _SPOKEN_BY_ALL]
    return min(fitting, key=lambda each: (not each.startswith(letters), each not in _FIRST_OF_ALL, each), default=None)


def languages_of(speakers: Iterable[str]) -> tuple[str, ...]:
    """Return the languages that one of these speakers speaks."""
    known = tuple(speakers)
    return tuple(each for each in LANGUAGES if speaker_of(each, known) is not None)


def read_folder(folder: Path) -> dict[str, Style]:
    """Return the styles in a folder, by speaker. Raises WeightsError where there are none, or they are damaged."""
    try:
        paths = sorted(path for path in folder.glob("*.bin") if SPEAKER.fullmatch(path.stem))[:_MOST_SPEAKERS]
        found = {path.stem: _style(read_bytes(path, STYLE_BYTES)) for path in paths}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder}: not the styles of Kokoro's speakers: {one_line(error)}") from error
    if not found:
        raise WeightsError(f"{folder}: got no styles of Kokoro's speakers, expected files such as af_heart.bin")
    return found


def read_archive(path: Path) -> dict[str, Style]:
    """Return the styles in an .npz, whatever it is called, by speaker. Raises WeightsError."""
    try:
        return archive_styles(read_bytes(path, _MOST_ARCHIVE_BYTES))
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path}: not the styles of Kokoro's speakers: {one_line(error)}") from error


def archive_styles(content: bytes) -> dict[str, Style]:
    """Return the styles in the bytes of an .npz. Raises ValueError, and what zipfile does."""
    # An archive may say that little is much: each member is measured before it is read.
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > _MOST_SPEAKERS or any(each.file_size > _MOST_MEMBER_BYTES for each in members):
            raise ValueError("too many styles, or too large ones")
        named = {each.filename.removesuffix(_MEMBER): each for each in members if each.filename.endswith(_MEMBER)}
        found = {name: archive.read(member) for name, member in named.items() if SPEAKER.fullmatch(name)}
    if not found:
        raise ValueError("no style in it")
    return {name: _style(_values(each)) for name, each in found.items()}


def _values(member: bytes) -> bytes:
    """Return what follows the header of an .npy. NumPy's own reader would make as much room as a header says."""
    head, values = member[: len(member) - STYLE_BYTES], member[len(member) - STYLE_BYTES :]
    is_of_floats = re.search(rb"'descr': *'<f4'", head) and re.search(rb"'fortran_order': *False", head)
    if not head.startswith(_MAGIC) or not is_of_floats:
        raise ValueError(
            f"got a member of {len(member)} bytes, expected an array of {STYLE_BYTES} of little-endian float32"
        )
    return values


def _style(content: bytes) -> Style:
    if len(content) != STYLE_BYTES:
        raise ValueError(f"got a style of {len(content)} bytes, expected {STYLE_BYTES}")
    style = np.frombuffer(content, "<f4").reshape(STYLE_SHAPE).astype(np.float32)
    if not np.isfinite(style).all():
        raise ValueError("got a style with values that are no numbers")
    return style
