"""Models from the Hugging Face hub, downloaded once into its own cache, which other programs share."""

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from tqdm import tqdm

from simul_whisper.config import SimulWhisperConfig
from simul_whisper.errors import DownloadTimeoutError, ModelNotFoundError
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.weights.checkpoint import shard_names
from simul_whisper.weights.directory import layout_of
from simul_whisper.weights.family import Family, family_of, refuse_realtime

ANSWER_TIMEOUT_S = SimulWhisperConfig.download_timeout
"""How long the hub may take to answer, where nobody says otherwise."""
_FILES = [
    "config.json",
    "generation_config.json",
    "params.json",
    "tokenizer.json",
    "tekken.json",
    "vocabulary.*",
    "model.bin",
    "weights.npz",
    "weights.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
]
_CONFIGS = ["config.json", "params.json"]
# Mistral's repositories have the same weights, 9 GB or 48, in both layouts, or in Mistral's own alone.
_CONSOLIDATED = "consolidated.safetensors"
_OTHER_LAYOUTS = {"model.safetensors", "model.safetensors.index.json"}
_INSTEAD = "a model that pip installs: tiny.en, base"
_INSTEAD_OF_COREML = "make one with: simul-whisper coreml convert MODEL"
# Which HTTP library the client uses depends on its version; its errors are the bases of this one.
_FAILURES: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, OSError, ValueError)


def hub_directory(
    hub_id: str,
    cache_dir: Path | None = None,
    progress: ProgressHandler = silent,
    endpoint: str | None = None,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Path:
    """Return the directory of a model in the hub's cache, after downloading it where need be.

    cache_dir: another place than the hub's own cache; endpoint: another hub; timeout_s: how long it may take to answer.
    A connection that breaks is resumed; after a failure, whole files are kept. Raises ModelNotFoundError, of which
    DownloadTimeoutError is one; WeightsError for a model that is not supported, before its weights are downloaded.
    """
    cached = cached_directory(hub_id, cache_dir)
    return cached or hub_files(hub_id, _FILES, cache_dir, progress, endpoint, timeout_s=timeout_s)


def hub_files(
    hub_id: str,
    patterns: Sequence[str],
    cache_dir: Path | None = None,
    progress: ProgressHandler = silent,
    endpoint: str | None = None,
    instead: str = _INSTEAD,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Path:
    """Return the directory of a repository after downloading the files that match; the rest as for `hub_directory`.

    instead: what to use when it fails, beside a local directory.
    """
    reporting = _Reporting(Stage.DOWNLOADING, progress, f"use a local directory, or {instead}")
    found = _snapshot(hub_id, patterns, reporting, cache_dir, endpoint, timeout_s)
    n_bytes = sum(file.stat().st_size for file in found.iterdir())
    progress(Progress(Stage.DOWNLOADING, hub_id, n_bytes, n_bytes))
    return found


def cached_files(hub_id: str, patterns: Sequence[str], cache_dir: Path | None = None) -> Path | None:
    """Return the directory of a repository in the cache, whole or not, without asking the hub; None for others."""
    try:
        return Path(
            snapshot_download(hub_id, cache_dir=cache_dir, allow_patterns=list(patterns), local_files_only=True)
        )
    except (OSError, ValueError):
        return None


def hub_folder(
    hub_id: str,
    folder: str,
    stage: Stage,
    cache_dir: Path | None = None,
    progress: ProgressHandler = silent,
    endpoint: str | None = None,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Path | None:
    """Return one folder of a hub repository, or one file, after downloading it where need be; None: it has none.

    Progress comes as `stage`; the rest as for `hub_directory`. Raises ModelNotFoundError.
    """
    if cached := cached_folder(hub_id, folder, cache_dir):
        return cached
    reporting = _Reporting(stage, progress, _INSTEAD_OF_COREML)
    found = _snapshot(hub_id, [folder, f"{folder}/*"], reporting, cache_dir, endpoint, timeout_s) / folder
    if not found.exists():
        return None
    progress(Progress(stage, hub_id, 1, 1))
    return found


@dataclass(frozen=True)
class _Reporting:
    """The stage that a download is reported as, and the handler it is reported to; what to do when it fails."""

    stage: Stage
    progress: ProgressHandler
    instead: str


_UNSEEN = _Reporting(Stage.DOWNLOADING, silent, "")


def _snapshot(
    hub_id: str,
    patterns: Sequence[str],
    reporting: _Reporting,
    cache_dir: Path | None,
    endpoint: str | None,
    timeout_s: float,
) -> Path:
    """Download the files of a repository that match and return its directory in the cache."""
    fetched = partial(snapshot_download, hub_id, cache_dir=cache_dir, etag_timeout=timeout_s, endpoint=endpoint)
    try:
        # The client asks what there is without a time-out, and waits for ever when the hub accepts and never answers.
        there = HfApi(endpoint).model_info(
            hub_id, revision=constants.DEFAULT_REVISION, timeout=timeout_s, files_metadata=True
        )
        # A model's config comes first, and of two layouts one.
        sizes = {file.rfilename: file.size or 0 for file in there.siblings or ()}
        if patterns is _FILES and not sizes.keys().isdisjoint(_CONFIGS):
            refuse_realtime(hub_id, Path(fetched(allow_patterns=_CONFIGS, tqdm_class=_bars(hub_id, _UNSEEN))))
        if patterns is _FILES and sizes.keys().isdisjoint(_OTHER_LAYOUTS):
            patterns = [*patterns, _CONSOLIDATED]
        if said := _size(sizes, patterns):
            reporting.progress(Progress(reporting.stage, f"{hub_id}: {said}"))
        return Path(fetched(allow_patterns=list(patterns), tqdm_class=_bars(hub_id, reporting)))
    except _FAILURES as error:
        failure = _failure(hub_id, error, reporting.instead, timeout_s)
        if reporting.stage is Stage.DOWNLOADING:
            reporting.progress(Progress(Stage.DOWNLOAD_FAILED, str(failure), error=failure))
        raise failure from error


def _size(sizes: Mapping[str, int], patterns: Sequence[str]) -> str:
    """Return how much the files that match are, in words; nothing where the hub does not say it."""
    wanted = [size for name, size in sizes.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
    n_bytes = sum(wanted)
    shown = f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
    return f"{shown} in {len(wanted)} files" if n_bytes else ""


def _failure(hub_id: str, error: Exception, instead: str, timeout_s: float) -> ModelNotFoundError:
    """Return what a download's failure means."""
    if _is_late(error):
        return DownloadTimeoutError(
            f"{hub_id}: the hub did not answer in time (download_timeout is {timeout_s:g} s); {instead}"
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelNotFoundError(f"{hub_id}: the hub has no such model, or does not give it to you; {instead}")
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelNotFoundError(f"{hub_id}: it could not be downloaded ({said}); {instead}")


def _is_late(error: BaseException | None) -> bool:
    """Whether a time-out of the HTTP library, whichever it is, is behind an error."""
    while error is not None:
        if "Timeout" in type(error).__name__:
            return True
        error = error.__cause__ or error.__context__
    return False


def cached_folder(hub_id: str, folder: str, cache_dir: Path | None = None) -> Path | None:
    """Return one folder of a repository, or one file, that has been downloaded whole; None for others. Asks nobody."""
    found = cached_files(hub_id, [folder], cache_dir)
    if found is None:
        return None
    part = found / folder
    # An interrupted download has left out files, and these two no model can do without.
    whole = part.is_file() or all((part / name).exists() for name in ("metadata.json", "weights/weight.bin"))
    return part if whole else None


def cached_directory(hub_id: str, cache_dir: Path | None = None) -> Path | None:
    """Return the directory of a model that has been downloaded whole, without asking the hub; None for others."""
    # The client knows which files of a repository match, and finds none of them where one is missing.
    for patterns in (_FILES, [*_CONFIGS, "tekken.json", _CONSOLIDATED]):
        found = cached_files(hub_id, patterns, cache_dir)
        if found is not None and _is_whole(found):
            return found
    return None


def _is_whole(directory: Path) -> bool:
    """Whether an interrupted download has left out none of a model's files."""
    shards = shard_names(directory / "model.safetensors.index.json")
    has_weights = layout_of(directory) is not None and all((directory / shard).exists() for shard in shards)
    if family_of(directory) is Family.VOXTRAL:
        return (has_weights or (directory / _CONSOLIDATED).exists()) and (directory / "tekken.json").exists()
    return has_weights


def cached_ids(cache_dir: Path | None = None) -> list[str]:
    """Return the ids of the models in the hub's cache, of whatever kind, whole or not."""
    folders = Path(cache_dir or constants.HF_HUB_CACHE).glob("models--*--*")
    return sorted(folder.name.removeprefix("models--").replace("--", "/", 1) for folder in folders)


def _bars(hub_id: str, reporting: _Reporting) -> type[Any]:
    """Return a class of progress bars that report bytes instead of drawing themselves."""
    reported = 0

    class Bar(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # else the first bar starts a thread

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            # Every part received is told: a download of less than tqdm's 0.1 s would otherwise show nothing.
            super().__init__(
                *args, **kwargs | {"file": io.StringIO(), "disable": False, "mininterval": 0, "miniters": 1}
            )

        def display(self, *_args: Any, **_kwargs: Any) -> None:
            nonlocal reported
            # The client keeps two such bars, of bytes received and written; their total grows with each file begun.
            total = int(self.total or 0)
            if self.unit == "B" and reported < self.n < total:
                reported = int(self.n)
                reporting.progress(Progress(reporting.stage, hub_id, reported, total))

    Bar.set_lock(threading.RLock())  # tqdm's own would start a process
    return Bar
