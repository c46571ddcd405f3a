"""Where Core ML encoders are looked for, and how they are fetched from a hub on the loopback interface."""

import zipfile
from pathlib import Path

import pytest

from simul_whisper.coreml.locate import (
    downloaded_package,
    fetched_package,
    is_on_hub,
    local_packages,
    package_at,
    package_name,
)
from simul_whisper.errors import CoreMLNotLoadedError, ModelNotFoundError
from simul_whisper.progress import Progress, Stage
from tests.simul_whisper.weights.fakehub import fake_hub

NO_HUB = "http://127.0.0.1:9"
FILES = {"model.mil": b"program", "metadata.json": b"[]", "weights/weight.bin": bytes(100_000)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simul_whisper.coreml.locate.cache_home", lambda: tmp_path / "cache")


def write(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def content_of(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_a_package_is_found_beside_the_program_or_in_the_cache_compiled_ones_first(tmp_path: Path) -> None:
    assert local_packages(["base.en"]) == []
    packages: list[Path] = []
    for folder in ("cache/coreml", "whisper.cpp/models", "models"):
        for suffix in (".mlpackage", ".mlmodelc"):
            package = tmp_path / folder / f"ggml-base.en-encoder{suffix}"
            package.mkdir(parents=True)
            packages.append(package)
            assert sorted(local_packages(["openai/whisper-base.en"])) == sorted(packages)
            assert local_packages(["openai/whisper-base.en"])[0].parent == package.parent
    assert [found.suffix for found in local_packages(["base.en"])] == [".mlmodelc", ".mlpackage"] * 3
    assert local_packages(["base"]) == []


def test_a_package_beside_the_weights_comes_first_then_the_names_in_order(tmp_path: Path) -> None:
    names = ("weights/AudioEncoder.mlmodelc", "weights/ggml-base-encoder.mlpackage")
    others = ("models/ggml-mine-encoder.mlpackage", "models/ggml-base-encoder.mlpackage")
    for name in (*names, *others, "weights/TextDecoder.mlmodelc"):
        (tmp_path / name).mkdir(parents=True)
    assert local_packages(["/there/mine", "base", "base"], tmp_path / "weights") == [
        tmp_path / name for name in (*names, *others)
    ]


def test_a_distilled_model_has_its_parents_encoder_after_its_own_and_no_decoder_of_it(tmp_path: Path) -> None:
    names = ("ggml-distil-small.en-encoder.mlpackage", "ggml-small.en-encoder.mlpackage")
    for name in (*names, "ggml-small.en-decoder.mlpackage"):
        (tmp_path / "models" / name).mkdir(parents=True)
    model = "Systran/faster-distil-whisper-small.en"
    assert local_packages([model]) == [tmp_path / "models" / name for name in names]
    assert local_packages([model], part="decoder") == []
    assert [found.name for found in local_packages(["small.en"], part="decoder")] == ["ggml-small.en-decoder.mlpackage"]


def test_a_package_is_found_by_the_name_that_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "models" / "ggml-mine-q4-encoder.mlpackage").mkdir(parents=True)
    assert len(local_packages(["mine-q4"])) == len(local_packages(["/there/mine-q4"])) == 1
    assert local_packages(["mine"]) == []


def test_a_path_that_is_given_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "some.mlpackage").mkdir()
    assert package_at("some.mlpackage") == tmp_path / "some.mlpackage"
    with pytest.raises(CoreMLNotLoadedError, match=r"other\.mlpackage: no such Core ML model"):
        package_at(str(tmp_path / "other.mlpackage"))


def test_whisperkits_model_is_fetched_once_with_progress(tmp_path: Path) -> None:
    write(tmp_path / "hub" / "openai_whisper-base.en" / "AudioEncoder.mlmodelc")
    write(tmp_path / "hub" / "openai_whisper-base.en" / "TextDecoder.mlmodelc")
    reports: list[Progress] = []
    with fake_hub("argmaxinc/whisperkit-coreml", tmp_path / "hub") as hub:
        found = fetched_package("base.en", reports.append, tmp_path / "hubcache", hub.endpoint)
        assert found is not None
        assert not [name for name, _ in hub.downloads if "TextDecoder" in name]
    assert content_of(found) == FILES
    assert {report.stage for report in reports} == {Stage.DOWNLOADING_COREML}
    assert reports[-1].fraction == 1
    assert fetched_package("base.en", cache_dir=tmp_path / "hubcache", endpoint=NO_HUB) == found
    assert downloaded_package("openai/whisper-base.en", tmp_path / "hubcache") == found
    assert downloaded_package("base.en", tmp_path / "hubcache", "decoder") is None
    assert downloaded_package("base", tmp_path / "hubcache") is None


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("distil-large-v2", "openai_whisper-large-v2"),
        ("distil-whisper/distil-large-v3", "distil-whisper_distil-large-v3"),
        ("distil-large-v3.5", "openai_whisper-large-v3"),
        ("Systran/faster-distil-whisper-medium.en", "openai_whisper-medium.en"),
    ],
)
def test_a_distilled_models_encoder_is_its_own_or_else_its_parents(tmp_path: Path, model: str, folder: str) -> None:
    for published in ("openai_whisper-large-v2", "distil-whisper_distil-large-v3", "openai_whisper-large-v3"):
        write(tmp_path / "hub" / published / "AudioEncoder.mlmodelc")
    write(tmp_path / "hub" / "openai_whisper-medium.en" / "AudioEncoder.mlmodelc")
    write(tmp_path / "hub" / "openai_whisper-medium.en" / "TextDecoder.mlmodelc")
    with fake_hub("argmaxinc/whisperkit-coreml", tmp_path / "hub") as hub:
        found = fetched_package(model, cache_dir=tmp_path / "hubcache", endpoint=hub.endpoint)
        assert found is not None
        assert found.parent.name == folder
        assert fetched_package("medium.en", part="decoder", cache_dir=tmp_path / "hubcache", endpoint=hub.endpoint)
        assert fetched_package(model, part="decoder", cache_dir=tmp_path / "hubcache", endpoint=hub.endpoint) is None


def test_whisper_cpps_archive_is_unpacked_into_our_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simul_whisper.coreml.locate._WHISPERKIT", "ggerganov/whisper.cpp")
    (tmp_path / "hub").mkdir()
    with zipfile.ZipFile(tmp_path / "hub" / "ggml-base.en-encoder.mlmodelc.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"ggml-base.en-encoder.mlmodelc/{name}", content)
    with fake_hub("ggerganov/whisper.cpp", tmp_path / "hub") as hub:
        found = fetched_package("base.en", cache_dir=tmp_path / "hubcache", endpoint=hub.endpoint)
        assert fetched_package("base.en", cache_dir=tmp_path / "hubcache", endpoint=hub.endpoint) == found
        assert fetched_package("base", cache_dir=tmp_path / "hubcache", endpoint=hub.endpoint) is None
    assert found is not None
    assert content_of(found) == FILES
    assert local_packages(["base.en"]) == [found]


def test_an_archive_that_is_none_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simul_whisper.coreml.locate._WHISPERKIT", "ggerganov/whisper.cpp")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "ggml-tiny-encoder.mlmodelc.zip").write_bytes(b"<html>")
    with (
        fake_hub("ggerganov/whisper.cpp", tmp_path / "hub") as hub,
        pytest.raises(ModelNotFoundError, match="could not be unpacked"),
    ):
        fetched_package("tiny", cache_dir=tmp_path / "hubcache", endpoint=hub.endpoint)
    assert local_packages(["tiny"]) == []


@pytest.mark.parametrize(
    "model", ["tiny.en", "openai/whisper-large-v3-turbo", "distil-whisper/distil-large-v3", "turbo", "distil-small.en"]
)
def test_the_hub_has_encoders_of_well_known_models(model: str) -> None:
    assert is_on_hub(model)


@pytest.mark.parametrize(
    "model", ["somebody/whisper-small", "/models/whisper-small", "my/medium", "base-tuned", "tinyen"]
)
def test_the_hub_has_no_encoders_of_other_models(model: str) -> None:
    assert not is_on_hub(model)


def test_a_directory_of_a_known_name_is_somebodys_own(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    assert not is_on_hub("small")


@pytest.mark.parametrize(("model", "name"), [("base", "base"), ("mlx-community/whisper-base.en-mlx-q4", "base.en")])
def test_packages_are_named_as_whisper_cpp_names_them(model: str, name: str) -> None:
    assert package_name(model) == f"ggml-{name}-encoder.mlpackage"
    assert package_name(model, "decoder") == f"ggml-{name}-decoder.mlpackage"
