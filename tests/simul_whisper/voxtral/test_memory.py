"""A model that does not fit is refused before it is loaded."""

from pathlib import Path

import pytest

from simul_whisper.errors import ModelError
from simul_whisper.voxtral.checkpoint import VoxtralWeights, open_voxtral
from simul_whisper.voxtral.memory import check_memory, loaded_bytes
from tests import voxtral_files
from tests.voxtral_files import Tensors


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return voxtral_files.random_tensors()


def of(tensors: Tensors, start: str) -> int:
    return sum(tensor.size for name, tensor in tensors.items() if name.startswith(start))


def on_its_way(weights: VoxtralWeights, start: str) -> int:
    return 2 * max(weights.tensors.n_bytes(name) for name in weights.tensors if name.startswith(start))


@pytest.mark.parametrize("start", ["encoder.", "language."])
def test_numbers_take_what_they_become(tmp_path: Path, tensors: Tensors, start: str) -> None:
    weights = open_voxtral("voxtral", voxtral_files.write_huggingface(tmp_path / "model", tensors))
    for number_bytes in (2, 4):
        assert loaded_bytes(weights, start, number_bytes) == number_bytes * of(tensors, start) + on_its_way(
            weights, start
        )


def test_what_is_packed_stays_so_unless_it_is_unpacked(tmp_path: Path, tensors: Tensors) -> None:
    weights = open_voxtral("voxtral", voxtral_files.write_mlx(tmp_path / "model", tensors))
    more = on_its_way(weights, "projector.")
    assert loaded_bytes(weights, "projector.", 4) - more == sum(
        weights.tensors.n_bytes(name) for name in weights.tensors if name.startswith("projector.")
    )
    assert loaded_bytes(weights, "projector.", 4, unpacks=True) - more == 4 * of(tensors, "projector.")


def test_too_little_memory_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simul_whisper.voxtral.memory.available_memory", lambda: 5_200_000_000)
    check_memory("voxtral-mini", 5_200_000_000)
    with pytest.raises(ModelError, match=r"^voxtral-mini: .* need 9\.4 GB of memory, and 5\.2 GB are free; take a"):
        check_memory("voxtral-mini", 9_360_000_000)
    monkeypatch.setattr("simul_whisper.voxtral.memory.available_memory", lambda: None)
    check_memory("voxtral-mini", 9_360_000_000)
