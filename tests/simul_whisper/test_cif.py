"""End-of-word weights: three file formats, one result; and a layer that never fires divides nothing by zero."""

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from simul_whisper.cif import WordBoundary
from simul_whisper.errors import WeightsError

N_STATE = 8
WEIGHT = np.random.default_rng(0).normal(size=(1, N_STATE)).astype(np.float32)
BIAS = np.array([-1.5], np.float32)
TENSORS = {"weight": WEIGHT, "bias": BIAS}


class FloatStorage:
    """Stands for torch.FloatStorage in a pickle."""


class _Storage:
    """Data that a PyTorch checkpoint keeps beside its pickle."""

    def __init__(self, key: str, size: int) -> None:
        self.pid = ("storage", FloatStorage, key, "cpu", size)


def _rebuild_tensor_v2(*_arguments: Any) -> None:
    """Stands for torch._utils._rebuild_tensor_v2 in a pickle."""


class _Tensor:
    """Pickles as a view of 1 + its own numbers, so that offsets count."""

    def __init__(self, key: str, array: NDArray[np.float32]) -> None:
        self.key, self.array = key, array

    def __reduce__(self) -> tuple[Any, ...]:
        strides = tuple(stride // 4 for stride in self.array.strides)
        storage = _Storage(self.key, 1 + self.array.size)
        return _rebuild_tensor_v2, (storage, 1, self.array.shape, strides, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.pid if isinstance(value, _Storage) else None


@pytest.fixture
def torch_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of PyTorch's names, so that the pickle refers to them."""
    for module, member in (("torch", FloatStorage), ("torch._utils", _rebuild_tensor_v2)):
        fake = ModuleType(module)
        setattr(fake, member.__name__, member)
        monkeypatch.setattr(member, "__module__", module)
        monkeypatch.setitem(sys.modules, module, fake)


def write_pt(path: Path, content: Any, data: dict[str, NDArray[np.float32]]) -> None:
    pickled = io.BytesIO()
    _Pickler(pickled, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        for key, array in data.items():
            archive.writestr(f"archive/data/{key}", np.array([99.0, *array.ravel()], np.float32).tobytes())


def firings(boundary: WordBoundary) -> list[bool]:
    random = np.random.default_rng(1)
    windows = [random.normal(size=(20, N_STATE)).astype(np.float32) for _ in range(200)]
    return [boundary.fires_at_end(window, 3 + n % 17) for n, window in enumerate(windows)]


def npz(path: Path, **tensors: NDArray[np.float32]) -> Path:
    np.savez(path / "cif.npz", **tensors)  # type: ignore[arg-type,unused-ignore]
    return path / "cif.npz"


@pytest.mark.usefixtures("torch_modules")
def test_all_formats_are_the_same(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "cif.safetensors")
    named = OrderedDict(weight=_Tensor("0", WEIGHT), bias=_Tensor("1", BIAS))
    write_pt(tmp_path / "cif.pt", named, {"0": WEIGHT, "1": BIAS})
    expected = firings(WordBoundary(npz(tmp_path, **TENSORS), N_STATE))
    assert {True, False} == set(expected)
    assert firings(WordBoundary(tmp_path / "cif.safetensors", N_STATE)) == expected
    assert firings(WordBoundary(str(tmp_path / "cif.pt"), N_STATE)) == expected


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cif.npz: CIF weight has size 8, expected 512"):
        WordBoundary(npz(tmp_path, **TENSORS), 512)
    with pytest.raises(WeightsError, match="expected 8"):
        WordBoundary(npz(tmp_path, bias=BIAS), N_STATE)


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pt"])
def test_what_is_no_checkpoint_is_refused(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"cif.{suffix}"
    with pytest.raises(WeightsError, match=f"cif.{suffix}: not a CIF checkpoint"):
        WordBoundary(file, N_STATE)
    file.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=f"cif.{suffix}: not a CIF checkpoint"):
        WordBoundary(file, N_STATE)


class _Dangerous:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    write_pt(tmp_path / "cif.pt", {"weight": _Dangerous(tmp_path / "was_run")}, {})
    with pytest.raises(WeightsError, match="is not allowed in a CIF checkpoint"):
        WordBoundary(tmp_path / "cif.pt", N_STATE)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("bias", [-80.0, -20.0, 0.0, 20.0, 80.0])
@pytest.mark.parametrize("content_frames", [1, 2, 3, 20])
def test_nothing_is_divided_by_zero(bias: float, content_frames: int, tmp_path: Path) -> None:
    boundary = WordBoundary(npz(tmp_path, weight=WEIGHT * 0, bias=np.array([bias], np.float32)), N_STATE)
    with np.errstate(divide="raise", invalid="raise"):
        fired = boundary.fires_at_end(np.zeros((20, N_STATE), np.float32), content_frames)
    assert isinstance(fired, bool)
    assert not (fired and bias < -1)


def test_a_word_that_ends_with_the_audio_fires(tmp_path: Path) -> None:
    boundary = WordBoundary(npz(tmp_path, weight=np.ones((1, 1), np.float32), bias=np.zeros(1, np.float32)), 1)
    # Weights of 0.9, 0.9 and 0.2: the second word is complete one frame before the end of 20.
    features = np.full((30, 1), -30.0, np.float32)
    features[[5, 18, 19], 0] = np.log([9, 9, 0.25])
    assert boundary.fires_at_end(features, 20)
    assert not boundary.fires_at_end(features, 28)
