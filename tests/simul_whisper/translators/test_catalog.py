"""Translators by name: what is known, cached and downloaded, from a hub on the loopback interface."""

import shutil
import time
from pathlib import Path

import pytest

from simul_whisper.errors import ConfigError, ModelNotFoundError
from simul_whisper.progress import Progress, Stage
from simul_whisper.translators import catalog
from simul_whisper.translators.catalog import check_model_name, list_translators, translator_directory
from tests.fixture_translator import DIRECTORY
from tests.simul_whisper.translators.model_directory import of_family
from tests.simul_whisper.weights.fakehub import fake_hub

NO_HUB = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_a_download_has_what_a_translator_needs_and_is_kept(tmp_path: Path) -> None:
    source = Path(shutil.copytree(DIRECTORY, tmp_path / "source"))
    (source / "pytorch_model.bin").write_bytes(b"not wanted")
    with fake_hub("someone/opus-mt-en-la", source) as hub:
        found = translator_directory("someone/opus-mt-en-la", cache_dir=tmp_path / "cache", endpoint=hub.endpoint)
    assert {file.name for file in found.iterdir()} == {file.name for file in DIRECTORY.iterdir()}
    again = translator_directory("someone/opus-mt-en-la", cache_dir=tmp_path / "cache", endpoint=NO_HUB)
    assert again == found
    (entry, *known) = list_translators(tmp_path / "cache")
    size = sum(file.stat().st_size for file in DIRECTORY.iterdir())
    assert (entry.name, entry.size_bytes, entry.is_cached) == ("someone/opus-mt-en-la", size, True)
    assert entry.licence == "CC-BY-4.0"
    assert not any(each.is_cached for each in known)


def test_what_is_not_for_commercial_use_is_told_before_it_is_fetched(tmp_path: Path) -> None:
    source = of_family(tmp_path / "source", "sentencepiece.bpe.model", ["</s>", "eng_Latn", "spa_Latn"])
    hub_id = "JustFrederik/nllb-200-distilled-600M-ct2-int8"
    reports: list[Progress] = []
    with fake_hub(hub_id, source) as hub:
        translator_directory("nllb-200-distilled-600m", reports.append, tmp_path / "cache", hub.endpoint)
        assert reports[0] == Progress(Stage.LICENCE, f"of {hub_id}: CC-BY-NC-4.0, not for commercial use; 630 MB", 0, 0)
        assert reports[-1].fraction == 1
        assert hub.downloads
        reports.clear()
        translator_directory("nllb-200-distilled-600m", reports.append, tmp_path / "cache", NO_HUB)
    assert not reports
    (entry, *_) = list_translators(tmp_path / "cache")
    assert (entry.name, entry.location, entry.is_cached) == ("nllb-200-distilled-600m", hub_id, True)


def test_a_half_downloaded_translator_is_fetched_again(tmp_path: Path) -> None:
    with fake_hub("someone/opus", DIRECTORY) as hub:
        hub.refuse = {"target.spm"}
        with pytest.raises(ModelNotFoundError, match="could not be downloaded"):
            translator_directory("someone/opus", cache_dir=tmp_path, endpoint=hub.endpoint)
        hub.refuse = set()
        found = translator_directory("someone/opus", cache_dir=tmp_path, endpoint=hub.endpoint)
    assert (found / "target.spm").exists()


def test_the_known_ones_have_sizes_and_licences(tmp_path: Path) -> None:
    entries = list_translators(tmp_path / "nothing")
    assert {entry.licence for entry in entries} == set(catalog.LICENCES.values())
    assert all(entry.size_bytes > 100_000_000 and not entry.is_cached for entry in entries)


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("opus-mt-en-de", "gaudi/opus-mt-en-de-ctranslate2"),
        ("m2m100-418m", "michaelfeil/ct2fast-m2m100_418M"),
    ],
)
def test_a_known_name_stands_for_a_hub_id(tmp_path: Path, name: str, hub_id: str) -> None:
    with fake_hub(hub_id, DIRECTORY) as hub:
        found = translator_directory(name, cache_dir=tmp_path, endpoint=hub.endpoint)
    assert found.parent.parent.name == f"models--{hub_id.replace('/', '--')}"


@pytest.mark.parametrize(
    "name", ["", "no-such", "./nowhere", "/nowhere/at/all", "a/b/c", __file__, "x\0y", "~nobody/x", "opus-mt-en"]
)
def test_a_name_of_nothing_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"expected a directory|is no directory|cannot be opened") as refused:
        translator_directory(name, cache_dir=tmp_path, endpoint=NO_HUB)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("model", ["", "opus-{src}", "opus-{source", "{source}}"])
def test_only_the_languages_have_places_in_a_name(model: str) -> None:
    with pytest.raises(ConfigError, match="expected a directory, a hub id or a known name"):
        check_model_name(model)
