"""End of word by continuous integrate-and-fire (Dong & Xu, arXiv 1905.11235), as Simul-Whisper uses it.

A trained linear layer gives each frame a weight; the weights are integrated, and each whole number reached is the end
of a word. Published for tiny to large-v2.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.encoders import Features
from simul_whisper.errors import WeightsError
from simul_whisper.foreign_files import one_line
from simul_whisper.weights.npz import read_npz
from simul_whisper.weights.safetensors import read_safetensors
from simul_whisper.weights.torch_checkpoint import read_torch_checkpoint

_FIRE = 0.999
_MAX_SPREADS = 10
# One number for each of a feature's, and one more.
_MOST_FILE_BYTES = 1 << 20
_MOST_WEIGHT = 1e4
# Beyond these a sigmoid in float32 is 0 or 1.
_MOST_LOGIT = 80


class WordBoundary:
    """Tells whether the audio ends where a word ends.

    Reads `weight` (1, n_audio_state) and `bias` (1,) from an .npz, .safetensors or PyTorch .pt file.
    Raises WeightsError when they are not there, of another size, or nothing that was trained.
    """

    def __init__(self, path: str | Path, n_audio_state: int) -> None:
        tensors = _read(Path(path))
        self._weight = _numbers(tensors.get("weight"))
        if self._weight.shape != (n_audio_state,):
            raise WeightsError(
                f"{path}: CIF weight has size {self._weight.size}, expected {n_audio_state} for this model"
            )
        bias = _numbers(tensors.get("bias", np.zeros(1)))
        if bias.shape != (1,) or not (np.abs([*self._weight, *bias]) <= _MOST_WEIGHT).all():
            raise WeightsError(f"{path}: CIF weights are no numbers between -{_MOST_WEIGHT:g} and {_MOST_WEIGHT:g}")
        self._bias = float(bias[0])

    def fires_at_end(self, features: Features, content_frames: int) -> bool:
        """Whether a word ends within the last two content frames. features: float32 (n_frames, n_audio_state)."""
        logits = np.clip(features[:content_frames] @ self._weight + self._bias, -_MOST_LOGIT, _MOST_LOGIT)
        weights = 1.0 / (1.0 + np.exp(-logits))
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


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if path.suffix == ".npz":
            return read_npz(path, _MOST_FILE_BYTES)
        if path.suffix == ".safetensors":
            return read_safetensors(path, _MOST_FILE_BYTES)
        return read_torch_checkpoint(path, _MOST_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a CIF checkpoint (.npz, .safetensors, .pt): {one_line(error)}") from error


def _numbers(tensor: NDArray[Any] | None) -> NDArray[np.float32]:
    """Return a tensor as float32 (n,); empty when it is missing or holds no fractions."""
    if tensor is None or tensor.dtype.kind != "f":
        return np.zeros(0, np.float32)
    with np.errstate(over="ignore"):
        return tensor.reshape(-1).astype(np.float32)
