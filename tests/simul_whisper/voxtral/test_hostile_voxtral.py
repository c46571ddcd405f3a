"""A Voxtral that a stranger made is opened, or refused in one line, and takes no more memory than it may."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simul_whisper.voxtral.checkpoint import open_voxtral
from simul_whisper.weights.hub import cached_directory
from tests import voxtral_files
from tests.hostile_files import damaged_file, damaged_json, grown_mb, only_our_errors
from tests.properties import examples
from tests.voxtral_files import DIMS

SMALL = replace(DIMS, n_audio_ctx=8, n_audio_layer=1, n_text_layer=1)
_MOST_MB = 60
"""Headers and configs, and the largest tensor of what is read."""
WRITERS: dict[str, Callable[..., Path]] = {
    "hugging face": voxtral_files.write_huggingface,
    "mistral": voxtral_files.write_consolidated,
    "mlx": voxtral_files.write_mlx,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A true small model in each layout."""
    tensors = voxtral_files.random_tensors(SMALL)
    return {name: write(tmp_path_factory.mktemp("model") / "true", tensors, SMALL) for name, write in WRITERS.items()}


@pytest.mark.parametrize("layout", WRITERS)
@examples(100)
@given(data=st.data())
def test_a_damaged_model_is_read_or_refused(layout: str, data: st.DataObject, models: dict[str, Path]) -> None:
    true = models[layout]
    # The tokenizer's file is read elsewhere.
    name = data.draw(st.sampled_from(sorted(file.name for file in true.iterdir() if file.name != "tekken.json")))
    copy = true.with_name("damaged")
    shutil.copytree(true, copy, dirs_exist_ok=True)
    (copy / name).write_bytes(data.draw(damaged_file(true / name)))
    with only_our_errors():
        tensors = open_voxtral("voxtral", copy).tensors
        assert all(tensors[name].size and tensors.as_stored(name).size for name in tensors)


@examples(60)
@given(data=st.data())
def test_a_config_in_the_hubs_cache_is_read_or_refused(
    data: st.DataObject, models: dict[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "models--someone--voxtral"
    snapshot = home / "snapshots" / "abc"
    if not snapshot.exists():
        shutil.copytree(models["hugging face"], snapshot)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text("abc")
    name = data.draw(st.sampled_from(["config.json", "model.safetensors.index.json"]))
    (snapshot / name).write_bytes(data.draw(damaged_json((models["hugging face"] / name).read_text())))
    with only_our_errors():
        cached_directory("someone/voxtral", tmp_path)


def test_a_large_model_takes_no_memory_until_it_is_read_and_then_that_of_a_tensor(tmp_path: Path) -> None:
    """Of 210 MB, whose largest tensor has 17 MB in the file and 34 MB as float32."""
    dims = replace(DIMS, n_audio_layer=1, n_text_state=1024, n_text_layer=6, n_text_mlp=8192)
    directory = voxtral_files.write_zeros(tmp_path / "model", dims)
    assert sum(file.stat().st_size for file in directory.iterdir()) > 200e6
    program = """from simul_whisper.voxtral.checkpoint import open_voxtral
from pathlib import Path
tensors = open_voxtral("voxtral", Path(sys.argv[1])).tensors
assert peak() - before < 10e6, peak() - before
for name in tensors:
    tensors[name]
"""
    assert grown_mb(program, directory) < _MOST_MB
