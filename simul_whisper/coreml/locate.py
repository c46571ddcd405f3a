"""Where the Core ML encoder of a model is: at a given path, beside the program, in the cache, or on the hub."""

import re
import tempfile
import zipfile
from pathlib import Path

from simul_whisper.coreml.runtime import COMPILED_SUFFIX, PACKAGE_SUFFIX
from simul_whisper.errors import EncoderNotLoadedError, ModelNotFoundError
from simul_whisper.progress import ProgressHandler, Stage, silent
from simul_whisper.weights.cache import cache_home
from simul_whisper.weights.hub import hub_folder

# Beside the program, and where a checkout of whisper.cpp keeps them.
_LOCAL = (Path("models"), Path("whisper.cpp/models"))
_WHISPER_CPP = "ggerganov/whisper.cpp"
_WHISPERKIT = "argmaxinc/whisperkit-coreml"
_WHISPERKIT_FOLDERS = {
    "large-v3-turbo": "openai_whisper-large-v3-v20240930",
    "turbo": "openai_whisper-large-v3-v20240930",
    "large": "openai_whisper-large-v3",
    "distil-large-v3": "distil-whisper_distil-large-v3",
}
# Names by which the hub's encoders are known; any other model is somebody's own.
_ON_HUB = re.compile(r"(tiny|base|small|medium)(\.en)?|large(-v[123])?|large-v3-turbo|turbo|distil-large-v3")


def short_name(model: str) -> str:
    """Return what files call a model: "base" for "openai/whisper-base" and for a directory "faster-whisper-base"."""
    name = model.rstrip("/").rpartition("/")[2]
    name = re.sub(r"^(faster-)?(distil-)?whisper-", lambda found: found[2] or "", name)
    return re.sub(r"-(mlx|ct2)(-\w+bit|-q\d)?$", "", name)


def package_name(model: str) -> str:
    """Return the name of a model's Core ML encoder, as whisper.cpp looks for it."""
    return f"ggml-{short_name(model)}-encoder{PACKAGE_SUFFIX}"


def coreml_cache() -> Path:
    return cache_home() / "coreml"


def local_package(model: str, path: str = "") -> Path | None:
    """Return the encoder at `path`, or the one found by the model's name; compiled ones first. None: there is none.

    Raises EncoderNotLoadedError when `path` is given and nothing is there.
    """
    if path:
        chosen = Path(path).expanduser()
        if chosen.exists():
            return chosen
        raise EncoderNotLoadedError(f"{path}: no such Core ML model; expected a .mlpackage or .mlmodelc")
    stem = Path(package_name(model)).stem
    candidates = [
        directory / f"{stem}{suffix}"
        for directory in (*_LOCAL, coreml_cache())
        for suffix in (COMPILED_SUFFIX, PACKAGE_SUFFIX)
    ]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def is_on_hub(model: str) -> bool:
    """Whether the hub has an encoder for this model: only for OpenAI's own and well-known distilled ones."""
    return re.fullmatch(_ON_HUB, short_name(model)) is not None


def fetched_package(
    model: str, progress: ProgressHandler = silent, cache_dir: Path | None = None, endpoint: str | None = None
) -> Path | None:
    """Download the encoder of a model, WhisperKit's or else whisper.cpp's, and return where it is; None: there is none.

    cache_dir, endpoint: another place than the hub's cache, another hub. Raises ModelNotFoundError.
    """
    name = short_name(model)
    folder = _WHISPERKIT_FOLDERS.get(name, f"openai_whisper-{name}") + f"/AudioEncoder{COMPILED_SUFFIX}"
    archive = f"ggml-{name}-encoder{COMPILED_SUFFIX}.zip"
    stage = Stage.DOWNLOADING_COREML
    if found := hub_folder(_WHISPERKIT, folder, stage, cache_dir, progress, endpoint):
        return found
    zipped = hub_folder(_WHISPER_CPP, archive, stage, cache_dir, progress, endpoint)
    return _unpacked(zipped) if zipped else None


def _unpacked(archive: Path) -> Path:
    """Unpack the zip of a model into our cache, whole or not at all."""
    target = coreml_cache() / archive.stem
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as part, zipfile.ZipFile(archive) as content:
            content.extractall(part)
            (Path(part) / target.name).rename(target)
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelNotFoundError(f"{archive.name}: could not be unpacked: {error}") from error
    return target
