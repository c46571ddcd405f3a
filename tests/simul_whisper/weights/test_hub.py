"""Downloads, from a hub on the loopback interface; and the hub's cache, without one."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simul_whisper.errors import DownloadTimeoutError, ModelNotFoundError
from simul_whisper.progress import Progress, Stage
from simul_whisper.weights.directory import load_directory
from simul_whisper.weights.hub import cached_directory, cached_ids, hub_directory
from tests.simul_whisper.weights import build
from tests.simul_whisper.weights.fakehub import FakeHub, fake_hub

HUB_ID = "someone/whisper-of-hers"
NO_HUB = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = build.write_huggingface(tmp_path / "model", build.random_tensors(), n_shards=2)
    (directory / "pytorch_model.bin").write_bytes(b"not wanted")
    return directory


@pytest.fixture
def hub(model: Path) -> Iterator[FakeHub]:
    with fake_hub(HUB_ID, model) as hub:
        yield hub


def as_cached(directory: Path, cache: Path, hub_id: str = HUB_ID) -> Path:
    """Copy a directory to where the hub's own client would have put it."""
    home = cache / f"models--{hub_id.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("abc")
    return Path(shutil.copytree(directory, home / "snapshots" / "abc"))


def test_a_download_is_whole_reported_and_kept(hub: FakeHub, tmp_path: Path) -> None:
    reports: list[Progress] = []
    found = hub_directory(HUB_ID, tmp_path / "cache", reports.append, hub.endpoint)
    assert load_directory("model", found).dims == build.DIMS
    n_bytes = sum(len(content) for name, content in hub.files.items() if name != "pytorch_model.bin")
    assert reports[-1] == Progress(Stage.DOWNLOADING, HUB_ID, n_bytes, n_bytes)
    assert [report.done for report in reports] == sorted({report.done for report in reports})
    assert "pytorch_model.bin" not in {name for name, _ in hub.downloads}
    assert hub_directory(HUB_ID, tmp_path / "cache", endpoint=NO_HUB) == found
    assert cached_ids(tmp_path / "cache") == [HUB_ID]


def test_a_broken_connection_is_resumed_where_it_broke(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # what arrived is kept in such pieces
    shard = "model-00001-of-00002.safetensors"
    hub.break_once = {shard}
    found = hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)
    assert (found / shard).read_bytes() == hub.files[shard]
    ranges = [wanted for name, wanted in hub.downloads if name == shard]
    assert ranges == [None, f"bytes={len(hub.files[shard]) // 2000 * 1000}-"]


def test_after_a_failure_whole_files_are_kept(hub: FakeHub, tmp_path: Path) -> None:
    shard = "model-00002-of-00002.safetensors"
    hub.refuse = {shard}
    with pytest.raises(ModelNotFoundError, match=f"{HUB_ID}: it could not be downloaded"):
        hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)
    assert cached_directory(HUB_ID, tmp_path / "cache") is None
    hub.refuse, hub.downloads = set(), []
    found = hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)
    assert load_directory("model", found).dims == build.DIMS
    assert "config.json" not in {name for name, _ in hub.downloads}


def test_an_unknown_id_is_named(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"^no/such: the hub has no such model.*local directory.*base$"):
        hub_directory("no/such", tmp_path, endpoint=hub.endpoint)


def test_an_impossible_id_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"^a b/c: "):
        hub_directory("a b/c", tmp_path, endpoint=NO_HUB)


def test_a_hub_that_cannot_be_reached_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"^{HUB_ID}: it could not be downloaded .*local directory.*base$"):
        hub_directory(HUB_ID, tmp_path, endpoint=NO_HUB)


def test_a_hub_that_never_answers_is_given_up_in_time_and_told(hub: FakeHub, tmp_path: Path) -> None:
    hub.silent = True
    reports: list[Progress] = []
    with pytest.raises(
        DownloadTimeoutError, match=rf"^{HUB_ID}: .* in time \(download_timeout is 0\.2 s\); "
    ) as caught:
        hub_directory(HUB_ID, tmp_path / "cache", reports.append, hub.endpoint, 0.2)
    assert reports == [Progress(Stage.DOWNLOAD_FAILED, str(caught.value), error=caught.value)]
    hub.silent = False
    assert hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)


def test_a_file_that_never_comes_is_given_up_too(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    hub.withheld = {"config.json"}
    with pytest.raises(DownloadTimeoutError, match=f"{HUB_ID}: the hub did not answer in time"):
        hub_directory(HUB_ID, tmp_path / "cache", endpoint=hub.endpoint)


@pytest.mark.parametrize("write", [build.write_mlx, build.write_ctranslate2, build.write_huggingface])
def test_the_cache_of_other_programs_is_used_offline(write: object, tmp_path: Path) -> None:
    model = write(tmp_path / "model", build.random_tensors())  # type: ignore[operator]
    cached = as_cached(model, tmp_path / "cache")
    assert hub_directory(HUB_ID, tmp_path / "cache", endpoint=NO_HUB) == cached


def test_a_cached_model_without_all_its_shards_is_not_used(model: Path, tmp_path: Path) -> None:
    (model / "model-00002-of-00002.safetensors").unlink()
    as_cached(model, tmp_path / "cache")
    assert cached_directory(HUB_ID, tmp_path / "cache") is None
