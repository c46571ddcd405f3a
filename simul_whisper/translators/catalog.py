"""Translators that are known by name, the licences of their weights, and where their directories are.

It knows names, sizes and files, and loads nothing.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from simul_whisper.errors import ConfigError, ModelNotFoundError, WeightsError
from simul_whisper.foreign_files import one_line, shown
from simul_whisper.progress import Progress, ProgressHandler, Stage, silent
from simul_whisper.translators.model_files import FILES, Family, ModelFiles, read_files
from simul_whisper.weights import hub

PLACES = ("{source}", "{target}")
"""What stands for the languages in the name of a model."""

LICENCES = {
    Family.OPUS_MT: "CC-BY-4.0",
    Family.M2M100: "MIT",
    Family.NLLB: "CC-BY-NC-4.0, not for commercial use",
    Family.MADLAD: "Apache-2.0",
}
"""Of the weights, as their makers give them."""


@dataclass(frozen=True)
class TranslatorEntry:
    """A translator that `open_translator` would open by this name.

    location: a directory, or the hub id of what would be downloaded, with {source} and {target} for the languages.
    size_bytes: of its files; of what is not here yet, about. licence: of its weights. is_cached: whether it is here.
    """

    name: str
    location: str
    size_bytes: int
    licence: str
    is_cached: bool = False


def _known(name: str, hub_id: str, megabytes: int, family: Family) -> TranslatorEntry:
    return TranslatorEntry(name, hub_id, megabytes * 1_000_000, LICENCES[family])


# Conversions to CTranslate2's format that others have published; sizes as their pages tell them.
_KNOWN = (
    _known("opus-mt-{source}-{target}", "gaudi/opus-mt-{source}-{target}-ctranslate2", 155, Family.OPUS_MT),
    _known("m2m100-418m", "michaelfeil/ct2fast-m2m100_418M", 974, Family.M2M100),
    _known("nllb-200-distilled-600m", "JustFrederik/nllb-200-distilled-600M-ct2-int8", 630, Family.NLLB),
    _known("madlad400-3b", "santhosh/madlad400-3b-ct2", 2960, Family.MADLAD),
)


def list_translators(cache_dir: Path | None = None) -> tuple[TranslatorEntry, ...]:
    """Return the translators in the hub's cache, then those known by name. Asks nobody."""
    found = {hub_id: _cached_files(hub_id, cache_dir) for hub_id in hub.cached_ids(cache_dir)}
    here = [_cached_entry(hub_id, files) for hub_id, files in found.items() if files]
    ids = {entry.location for entry in here}
    return (*here, *(entry for entry in _KNOWN if entry.location not in ids))


def _cached_files(hub_id: str, cache_dir: Path | None) -> ModelFiles | None:
    """Return the files of a translator in the hub's cache; None for other programs' models, in whatever state."""
    directory = hub.cached_files(hub_id, FILES, cache_dir)
    with suppress(WeightsError, OSError):
        return read_files(directory) if directory else None
    return None


def _cached_entry(hub_id: str, files: ModelFiles) -> TranslatorEntry:
    n_bytes = sum(file.stat().st_size for file in files.directory.iterdir() if file.is_file())
    name = next((entry.name for entry in _KNOWN if entry.location == hub_id), hub_id)
    return TranslatorEntry(name, hub_id, n_bytes, LICENCES[files.family], is_cached=True)


def filled_in(model: str, source: str, target: str) -> str:
    """Return the name of the model for a pair of languages."""
    return model.replace(PLACES[0], source).replace(PLACES[1], target)


def translator_directory(
    name: str, progress: ProgressHandler = silent, cache_dir: Path | None = None, endpoint: str | None = None
) -> Path:
    """Return the directory of a translator, after downloading it where need be; it has no places for languages.

    name: a directory, a hub id, or one of those known. cache_dir, endpoint: another cache than the hub's own, and
    another hub. Raises ModelNotFoundError.
    """
    try:
        path = Path(name).expanduser()
        is_directory = bool(name) and path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelNotFoundError(f"{one_line(name)}: cannot be opened: {one_line(error)}") from error
    if is_directory:
        return path
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or path.is_file():
        raise ModelNotFoundError(f"{one_line(name)}: is no directory; expected one with the files of a translator")
    hub_id = name if "/" in name else _hub_id(name)
    if cached := _cached_files(hub_id, cache_dir):
        return cached.directory
    _warn_of_licence(hub_id, progress)
    return hub.hub_files(hub_id, FILES, cache_dir, progress, endpoint, instead="another of `simul-whisper models`")


def _hub_id(name: str) -> str:
    """Return the hub id that a known name stands for; OPUS-MT's ends with the languages."""
    for entry in _KNOWN:
        start, place, _ = entry.name.partition(PLACES[0])
        if name == entry.name:
            return entry.location
        if place and name.startswith(start):
            source, _, target = name.removeprefix(start).partition("-")
            if source and target:
                return filled_in(entry.location, source, target)
    raise ModelNotFoundError(
        f"got translator {shown(name)}, expected a directory, a hub id (owner/name) or one of "
        + ", ".join(entry.name for entry in _KNOWN)
    )


def _warn_of_licence(hub_id: str, progress: ProgressHandler) -> None:
    if "nllb" not in hub_id.lower():
        return
    size = next((f"; {entry.size_bytes / 1e6:.0f} MB" for entry in _KNOWN if entry.location == hub_id), "")
    progress(Progress(Stage.LICENCE, f"of {hub_id}: {LICENCES[Family.NLLB]}{size}"))


def check_model_name(model: str) -> None:
    """Raise ConfigError for a name with other places than those for the languages."""
    rest = filled_in(model, "", "")
    if not model or "{" in rest or "}" in rest:
        raise ConfigError(
            f"got model = {shown(model)}, expected a directory, a hub id or a known name, in which {PLACES[0]} and "
            f"{PLACES[1]} may stand for the languages"
        )
