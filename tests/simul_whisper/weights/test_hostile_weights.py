"""A model that a stranger made is loaded, or refused in one line, and takes no more memory than it may."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.errors import WeightsError
from simul_whisper.weights.directory import load_directory
from simul_whisper.weights.hub import cached_directory
from tests.hostile_files import damaged_file, damaged_json, grown_mb, only_our_errors
from tests.properties import examples
from tests.simul_whisper.weights import hostile

_MOST_MB = 250
"""A config of 4 MB in Python's lists and dicts, at worst."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A true small model in each layout."""
    return {name: write(tmp_path_factory.mktemp("model") / "true") for name, write in hostile.WRITERS.items()}


@pytest.mark.parametrize("name", hostile.CASES)
def test_what_means_harm_is_refused_by_name(name: str, tmp_path: Path) -> None:
    directory = hostile.make(name, tmp_path / "model")
    with pytest.raises(WeightsError) as refused:
        load_directory("model", directory)
    assert hostile.CASES[name].said in str(refused.value)
    with only_our_errors():
        raise refused.value


def test_what_means_harm_takes_no_memory(tmp_path: Path, models: dict[str, Path]) -> None:
    cases = [hostile.make(name, tmp_path / str(n)) for n, name in enumerate(hostile.CASES)]
    program = """from simul_whisper.weights.directory import load_directory; from simul_whisper.weights import mlx
from simul_whisper.errors import WeightsError
for directory in map(__import__("pathlib").Path, sys.argv[1:]):
    try:
        load_directory("model", directory)
    except WeightsError:
        pass
"""
    assert grown_mb(program, *models.values(), *cases) < _MOST_MB


@pytest.mark.parametrize("layout", hostile.WRITERS)
@examples(120)
@given(data=st.data())
def test_a_damaged_model_is_loaded_or_refused(layout: str, data: st.DataObject, models: dict[str, Path]) -> None:
    true = models[layout]
    names = sorted(file.name for file in true.iterdir() if file.name not in ("tokenizer.json", "vocabulary.json"))
    name = data.draw(st.sampled_from(names))
    copy = true.with_name("damaged")
    shutil.copytree(true, copy, dirs_exist_ok=True)
    (copy / name).write_bytes(data.draw(damaged_file(true / name)))
    with only_our_errors():
        load_directory("model", copy)


@examples(60)
@given(data=st.data())
def test_an_index_in_the_hubs_cache_is_read_or_refused(
    data: st.DataObject, models: dict[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "models--someone--whisper"
    snapshot = home / "snapshots" / "abc"
    if not snapshot.exists():
        shutil.copytree(models["huggingface in shards"], snapshot)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text("abc")
    index = "model.safetensors.index.json"
    (snapshot / index).write_bytes(data.draw(damaged_json((models["huggingface in shards"] / index).read_text())))
    with only_our_errors():
        cached_directory("someone/whisper", tmp_path)
