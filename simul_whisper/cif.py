"""End of word by continuous integrate-and-fire (Dong & Xu, arXiv 1905.11235), as Simul-Whisper uses it.

A trained linear layer gives each frame a weight; the weights are integrated, and each whole number reached is the end
of a word. Published for tiny to large-v2.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.encoders import Features
from simul_whisper.errors import WeightsError

_FIRE = 0.999
_MAX_SPREADS = 10


class WordBoundary:
    """Tells whether the audio ends where a word ends.

    Reads `weight` (1, n_audio_state) and `bias` (1,) from an .npz, .safetensors or PyTorch .pt file.
    Raises WeightsError when they are not there or of another size.
    """

    def __init__(self, path: str | Path, n_audio_state: int) -> None:
        tensors = _read(Path(path))
        self._weight = np.asarray(tensors.get("weight"), np.float32).reshape(-1)
        self._bias = float(np.asarray(tensors.get("bias", 0.0), np.float32).reshape(-1)[0])
        if self._weight.shape != (n_audio_state,):
            raise WeightsError(
                f"{path}: CIF weight has size {self._weight.size}, expected {n_audio_state} for this model"
            )

    def fires_at_end(self, features: Features, content_frames: int) -> bool:
        """Whether a word ends within the last two content frames. features: float32 (n_frames, n_audio_state)."""
        weights = 1.0 / (1.0 + np.exp(-(features[:content_frames] @ self._weight + self._bias)))
        n_words = round(float(weights.sum()))
        if n_words == 0:
            return False
        # The peak at the very end is that of the cut, not of a word.
        integral = np.cumsum(_spread(weights * (n_words / weights.sum())))[:-1]
        if not len(integral):
            return False
        reached = integral >= integral[-1] // _FIRE
        return bool(reached.any()) and int(reached.argmax()) >= content_frames - 2


def _spread(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Halve what exceeds one word and spread it over the window, keeping the sum."""
    for _ in range(_MAX_SPREADS):
        if weights.max() <= _FIRE:
            break
        weights = weights * 0.5 + 0.5 * weights.mean()
    return weights


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".npz":
            return dict(np.load(path))
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(path))
        return _TorchFile(path).tensors()
    except Exception as error:  # each of the three libraries has its own family
        raise WeightsError(f"{path}: not a CIF checkpoint (.npz, .safetensors, .pt): {error}") from error


class _TorchFile(pickle.Unpickler):
    """A PyTorch checkpoint of float32 tensors, without PyTorch, and without running any code in it."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self._pickle_name = next(name for name in self._archive.namelist() if name.endswith("/data.pkl"))
        super().__init__(io.BytesIO(self._archive.read(self._pickle_name)))

    def tensors(self) -> dict[str, Any]:
        with self._archive:
            return dict(self.load())

    def persistent_load(self, pid: Any) -> NDArray[np.float32]:
        """pid: ("storage", type, key, location, size)."""
        data = self._archive.read(self._pickle_name.replace("data.pkl", f"data/{pid[2]}"))
        return np.frombuffer(data, np.float32)

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("collections", "OrderedDict"): dict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuilt_tensor,
            ("torch", "FloatStorage"): np.float32,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a CIF checkpoint")
        return allowed[module, name]


def _rebuilt_tensor(storage: NDArray[np.float32], offset: int, size: tuple[int, ...], *_: Any) -> NDArray[np.float32]:
    n = int(np.prod(size))
    return storage[offset : offset + n].reshape(size)
