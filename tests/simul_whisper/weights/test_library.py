"""What the user calls a model: embedded names, directories, hub ids, well-known names."""

import shutil
from pathlib import Path

import pytest

from simul_whisper.errors import ModelNotFoundError
from simul_whisper.languages import language_names
from simul_whisper.weights import (
    ModelEntry,
    ModelFiles,
    ModelKind,
    hub,
    known_models,
    list_models,
    load_weights,
    model_directory,
    model_files,
)
from tests.simul_whisper.weights import build


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, Path | None]]:
    """What the hub is asked for; it has everything."""
    asked: list[tuple[str, Path | None]] = []

    def answer(hub_id: str, cache_dir: Path | None, *_: object, **__: object) -> Path:
        asked.append((hub_id, cache_dir))
        return tmp_path

    monkeypatch.setattr(hub, "hub_directory", answer)
    return asked


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("mlx-community/whisper-large-v3-turbo", "mlx-community/whisper-large-v3-turbo"),
        ("small", "Systran/faster-whisper-small"),
        ("turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo"),
        ("distil-large-v3", "Systran/faster-distil-whisper-large-v3"),
    ],
)
def test_hub_ids_and_known_names_go_to_the_hub(
    name: str, hub_id: str, asked: list[tuple[str, Path | None]], tmp_path: Path
) -> None:
    assert model_directory(name) == tmp_path
    model_directory(name, tmp_path)
    assert asked == [(hub_id, None), (hub_id, tmp_path / "hub")]


@pytest.mark.parametrize(("short", "name"), [("turbo", "large-v3-turbo"), ("large", "large-v3")])
def test_a_short_name_means_the_model_of_its_full_name(
    short: str, name: str, asked: list[tuple[str, Path | None]], tmp_path: Path
) -> None:
    build.write_mlx(tmp_path, build.random_tensors(), heads=((1, 1),))
    assert load_weights(short).name == load_weights(name).name == name
    assert asked[0] == asked[1]
    assert short not in known_models()


def test_embedded_models_and_directories_need_no_hub(asked: list[tuple[str, Path | None]], tmp_path: Path) -> None:
    assert model_directory("tiny.en", tmp_path).name == "model"
    assert model_directory(str(tmp_path)) == tmp_path
    assert asked == []


@pytest.mark.parametrize("name", ["", "tyni", "large-v4"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"got model '{name}', .*tiny\.en, base, tiny, .*distil-large-v3\.5"):
        load_weights(name)


@pytest.mark.parametrize("path", ["/no/such", "./no-such", "~/no-such", "no/such/model", "../no-such"])
def test_a_missing_path_is_not_looked_for_on_the_hub(path: str, asked: list[tuple[str, Path | None]]) -> None:
    with pytest.raises(ModelNotFoundError, match="no such directory; expected a directory with the files of a model"):
        load_weights(path)
    assert asked == []


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelNotFoundError, match=r"model\.bin: this is a file; expected a directory"):
        load_weights(str(tmp_path / "model.bin"))


def test_given_heads_are_taken(tmp_path: Path) -> None:
    build.write_mlx(tmp_path, build.random_tensors(), heads=None)
    assert load_weights(str(tmp_path), alignment_heads=((1, 1),)).alignment_heads == ((1, 1),)


def test_models_are_listed_by_where_they_are(tmp_path: Path) -> None:
    def cache(hub_id: str, model: Path) -> Path:
        home = tmp_path / "hub" / f"models--{hub_id.replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("abc")
        return Path(shutil.move(model, home / "snapshots" / "abc"))

    tensors = build.random_tensors()
    small = cache("Systran/faster-whisper-small", build.write_ctranslate2(tmp_path / "a", tensors))
    hers = cache("someone/whisper-of-hers", build.write_mlx(tmp_path / "b", tensors))
    another = build.write_huggingface(tmp_path / "c", tensors)
    build.write_json(another / "config.json", {"model_type": "bert"})
    cache("someone/bert", another)
    damaged = build.write_huggingface(tmp_path / "d", tensors)
    (damaged / "config.json").write_text("{")
    cache("someone/damaged", damaged)

    entries = list_models(tmp_path)
    assert [entry.name for entry in entries if entry.kind is ModelKind.EMBEDDED] == ["tiny.en", "base"]
    cached = {entry.name: entry.location for entry in entries if entry.kind is ModelKind.CACHED}
    assert cached == {"someone/whisper-of-hers": str(hers), "small": str(small)}
    assert ModelEntry("medium", ModelKind.KNOWN, "Systran/faster-whisper-medium", None) in entries
    assert {*known_models(), "someone/whisper-of-hers"} == {entry.name for entry in entries}


def test_what_is_known_of_a_model_before_it_is_loaded(tmp_path: Path) -> None:
    everything = tuple(language_names())
    assert model_files("tiny.en") == ModelFiles(75537502, ("en",))
    assert model_files("base") == ModelFiles(145217532, everything)
    assert model_files("small.en", tmp_path) == ModelFiles(None, ("en",))
    assert model_files("openai/whisper-small", tmp_path) == ModelFiles(None, everything)
    assert model_files(str(tmp_path / "nothing")) == model_files("") == ModelFiles(None, everything)
    # A model of somebody's own says by its tokenizer what it is.
    shutil.copy(model_directory("tiny.en") / "tokenizer.json", tmp_path)
    (tmp_path / "model.bin").write_bytes(b"1234")
    size_bytes = 4 + (tmp_path / "tokenizer.json").stat().st_size
    assert model_files(str(tmp_path)) == ModelFiles(size_bytes, ("en",))
    (tmp_path / "tokenizer.json").write_text("{")
    assert model_files(str(tmp_path)) == ModelFiles(5, everything)
