"""Where a model's Core ML encoder or decoder is: at a path, beside weights or program, in the cache, or on the hub."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from simul_whisper.coreml.interface import STEP
from simul_whisper.coreml.runtime import COMPILED_SUFFIX, PACKAGE_SUFFIX
from simul_whisper.errors import EncoderNotLoadedError, ModelNotFoundError
from simul_whisper.foreign_files import one_line
from simul_whisper.progress import ProgressHandler, Stage, silent
from simul_whisper.weights.archive import Archive
from simul_whisper.weights.cache import cache_home
from simul_whisper.weights.hub import hub_folder
from simul_whisper.weights.names import full_name

PartName = Literal["encoder", "decoder"]

_SUFFIXES = (COMPILED_SUFFIX, PACKAGE_SUFFIX)
# Beside the program, and where a checkout of whisper.cpp keeps them.
_LOCAL = (Path("models"), Path("whisper.cpp/models"))
_WHISPER_CPP = "ggerganov/whisper.cpp"
_WHISPERKIT = "argmaxinc/whisperkit-coreml"
_WHISPERKIT_FOLDERS = {
    "large-v3-turbo": "openai_whisper-large-v3-v20240930",
    "distil-large-v3": "distil-whisper_distil-large-v3",
}
# Names by which the hub's encoders are known, and whose copies of these models are the same; others are their own.
_OWNERS = ("openai", "distil-whisper", "Systran", "mobiuslabsgmbh", "mlx-community")
_WHISPERKIT_NAMES: dict[PartName, str] = {"encoder": "AudioEncoder", "decoder": "TextDecoder"}
_ON_HUB = re.compile(r"(tiny|base|small|medium)(\.en)?|large-v[123]|large-v3-turbo|distil-large-v3")


def short_name(model: str) -> str:
    """Return what files call a model: "base" for "openai/whisper-base" and for a directory "faster-whisper-base"."""
    name = model.rstrip("/").rpartition("/")[2]
    name = re.sub(r"^(faster-)?(distil-)?whisper-", lambda found: found[2] or "", name)
    return full_name(re.sub(r"-(mlx|ct2)(-\w+bit|-q\d)?$", "", name))


def package_name(model: str, part: PartName = "encoder") -> str:
    """Return the name of a part of a model in Core ML; of the encoder, that by which whisper.cpp looks for it."""
    return f"ggml-{short_name(model)}-{part}{PACKAGE_SUFFIX}"


def decoder_package_name(model: str, function: str = STEP) -> str:
    """Return the name of a model's Core ML decoder; of one without states, of this function of it."""
    suffix = "" if function == STEP else f"-{function}"
    return f"ggml-{short_name(model)}-decoder{suffix}{PACKAGE_SUFFIX}"


def coreml_cache() -> Path:
    return cache_home() / "coreml"


def package_at(path: str) -> Path:
    """Return the absolute path of what is at `path`. Raises EncoderNotLoadedError when nothing is there."""
    chosen = Path(path).expanduser().absolute()
    if chosen.exists():
        return chosen
    raise EncoderNotLoadedError(f"{path}: no such Core ML model; expected a .mlpackage or .mlmodelc")


def local_packages(
    models: Sequence[str], weights_directory: Path | None = None, part: PartName = "encoder"
) -> list[Path]:
    """Return the encoders, or decoders, that may belong to a model, as absolute paths, compiled before others.

    These are the ones in the directory of its weights, and those that are named after one of `models`, its names.
    """
    beside = sorted(weights_directory.glob("*")) if weights_directory else []
    found = [each for suffix in _SUFFIXES for each in beside if each.name.lower().endswith(f"{part}{suffix}")]
    found += [
        directory / f"{Path(package_name(model, part)).stem}{suffix}"
        for model in models
        for directory in (*_LOCAL, coreml_cache())
        for suffix in _SUFFIXES
    ]
    return [each for each in dict.fromkeys(each.absolute() for each in found) if each.exists()]


def is_on_hub(model: str) -> bool:
    """Whether the hub has an encoder for this model: OpenAI's own and well-known distilled ones, not somebody's."""
    owner, _, _ = model.rpartition("/")
    if Path(model).is_dir() or (owner and owner not in _OWNERS):
        return False
    return re.fullmatch(_ON_HUB, short_name(model)) is not None


def fetched_package(
    model: str,
    progress: ProgressHandler = silent,
    cache_dir: Path | None = None,
    endpoint: str | None = None,
    part: PartName = "encoder",
) -> Path | None:
    """Download a part of a model, WhisperKit's or else whisper.cpp's encoder, and return where it is; None: none.

    cache_dir, endpoint: another place than the hub's cache, another hub. Raises ModelNotFoundError.
    """
    name = short_name(model)
    folder = _WHISPERKIT_FOLDERS.get(name, f"openai_whisper-{name}") + f"/{_WHISPERKIT_NAMES[part]}{COMPILED_SUFFIX}"
    archive = f"ggml-{name}-encoder{COMPILED_SUFFIX}.zip"
    stage = Stage.DOWNLOADING_COREML
    if found := hub_folder(_WHISPERKIT, folder, stage, cache_dir, progress, endpoint):
        return found
    if part == "decoder":
        return None
    zipped = hub_folder(_WHISPER_CPP, archive, stage, cache_dir, progress, endpoint)
    return _unpacked(zipped) if zipped else None


def _unpacked(archive: Path) -> Path:
    """Unpack the zip of a model into our cache, whole or not at all."""
    target = coreml_cache() / archive.stem
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as part, Archive(archive) as content:
            content.extract(Path(part))
            (Path(part) / target.name).rename(target)
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"{archive.name}: could not be unpacked: {one_line(error)}") from error
    return target
