"""Voxtral from a hub on the loopback interface, and from the hub's cache: shards, tokenizer, and nothing twice."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from simul_whisper.errors import ModelNotFoundError, WeightsError
from simul_whisper.progress import Progress, Stage
from simul_whisper.voxtral.checkpoint import open_voxtral
from simul_whisper.weights import ModelEntry, ModelKind, list_models, load_weights, model_directory
from simul_whisper.weights.hub import cached_directory, hub_directory
from tests import voxtral_files
from tests.simul_whisper.weights.fakehub import FakeHub, be_the_hub, fake_hub
from tests.voxtral_files import DIMS, Tensors

HUB_ID = "someone/Voxtral-of-hers"
NO_HUB = "http://127.0.0.1:9"
SMALL = replace(DIMS, n_audio_ctx=8, n_audio_layer=1, n_text_layer=1)
MISTRALS = "consolidated.safetensors"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return voxtral_files.random_tensors(SMALL)


@pytest.fixture
def model(tmp_path: Path, tensors: Tensors) -> Path:
    """As Mistral's own repositories are: with the same weights in both layouts."""
    directory = voxtral_files.write_huggingface(tmp_path / "model", tensors, SMALL, n_shards=2)
    voxtral_files.write_consolidated(directory, tensors, SMALL)
    (directory / "README.md").write_bytes(b"not wanted")
    return directory


@contextmanager
def served(directory: Path) -> Iterator[FakeHub]:
    with fake_hub(HUB_ID, directory) as hub:
        yield hub


def test_one_of_two_layouts_is_downloaded_after_its_size_was_said(model: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    with served(model) as hub:
        found = hub_directory(HUB_ID, tmp_path / "cache", reports.append, hub.endpoint)
        fetched = {name: content for name, content in hub.files.items() if name not in (MISTRALS, "README.md")}
        assert {name for name, _ in hub.downloads} == set(fetched)
    n_bytes = sum(map(len, fetched.values()))
    assert reports[0] == Progress(Stage.DOWNLOADING, f"{HUB_ID}: {n_bytes / 1e6:.1f} MB in {len(fetched)} files")
    assert reports[-1] == Progress(Stage.DOWNLOADING, HUB_ID, n_bytes, n_bytes)
    assert open_voxtral("voxtral", found).dims == SMALL
    assert hub_directory(HUB_ID, tmp_path / "cache", endpoint=NO_HUB) == found


def test_a_repository_in_mistral_s_layout_alone_is_downloaded(tmp_path: Path, tensors: Tensors) -> None:
    with served(voxtral_files.write_consolidated(tmp_path / "model", tensors, SMALL)) as hub:
        found = hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)
    assert open_voxtral("voxtral", found).dims == SMALL
    assert cached_directory(HUB_ID, tmp_path / "cache") == found


def test_a_shard_that_does_not_come_is_asked_for_again(model: Path, tmp_path: Path) -> None:
    shard = "model-00002-of-00002.safetensors"
    with served(model) as hub:
        hub.refuse = {shard}
        with pytest.raises(ModelNotFoundError, match=f"{HUB_ID}: it could not be downloaded"):
            hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)
        assert cached_directory(HUB_ID, tmp_path / "cache") is None
        hub.refuse, hub.downloads = set(), []
        found = hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)
        assert {name for name, _ in hub.downloads} == {shard}
    assert open_voxtral("voxtral", found).dims == SMALL


@pytest.mark.parametrize("missing", ["tekken.json", "model-00001-of-00002.safetensors"])
def test_what_is_cached_without_all_its_files_is_not_whole(missing: str, model: Path, tmp_path: Path) -> None:
    (model / MISTRALS).unlink()
    (as_cached(model, tmp_path / "cache") / missing).unlink()
    assert cached_directory(HUB_ID, tmp_path / "cache") is None


def test_what_is_not_supported_is_refused_before_its_weights_come(model: Path, tmp_path: Path) -> None:
    config = voxtral_files.config_of(SMALL) | {"model_type": "voxtral_realtime"}
    voxtral_files.write_json(model / "config.json", config)
    with served(model) as hub:
        with pytest.raises(WeightsError, match=f"^{HUB_ID}: this is Voxtral Realtime, another architecture"):
            hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)
        assert {name for name, _ in hub.downloads} == {"config.json", "params.json"}


def test_cached_models_are_listed_and_found_by_their_names(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = as_cached(model, tmp_path / "hub", "mistralai/Voxtral-Mini-3B-2507")
    hers = as_cached(model, tmp_path / "hub")
    entries = {entry.name: entry for entry in list_models(tmp_path)}
    n_bytes = sum(file.stat().st_size for file in model.iterdir())
    assert entries["voxtral-mini"] == ModelEntry("voxtral-mini", ModelKind.CACHED, str(mini), n_bytes)
    assert entries[HUB_ID] == ModelEntry(HUB_ID, ModelKind.CACHED, str(hers), n_bytes)
    assert entries["voxtral-small"].kind is ModelKind.KNOWN
    with served(model) as hub:
        be_the_hub(hub, tmp_path / "hub", monkeypatch)
        assert model_directory("voxtral", tmp_path) == model_directory("voxtral-mini", tmp_path) == mini
        with pytest.raises(WeightsError, match="this is a Voxtral model, expected Whisper"):
            load_weights("voxtral", cache_dir=tmp_path)
        assert hub.requests == []


def as_cached(directory: Path, cache: Path, hub_id: str = HUB_ID) -> Path:
    """Copy a directory to where the hub's own client would have put it."""
    home = cache / f"models--{hub_id.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("abc")
    return Path(shutil.copytree(directory, home / "snapshots" / "abc"))
