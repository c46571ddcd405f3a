"""The encoder's and the projector's tensors as plain numbers, also where a checkpoint has them in fewer bits."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.blas import mx
from simul_whisper.voxtral.checkpoint import VoxtralWeights

_PARTS = ("weight", "scales", "biases")


class ExpandedTensors(Mapping[str, NDArray[Any]]):
    """Those of some parts of a model, such as "encoder". Each is read when it is asked for, and none is kept.

    They are float16 or float32; what MLX packed becomes float32.
    """

    def __init__(self, weights: VoxtralWeights, parts: tuple[str, ...]) -> None:
        self._tensors, self._packings = weights.tensors, weights.packings
        self._names = [name for name in weights.tensors if name.split(".")[0] in parts and not self._is_beside(name)]

    def __getitem__(self, name: str) -> NDArray[Any]:
        path = name.removesuffix(".weight")
        packing = self._packings.get(path)
        if packing is None:
            return self._tensors[name]
        weight, scales, biases = (mx.array(self._tensors[f"{path}.{part}"]) for part in _PARTS)
        scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
        return np.array(mx.dequantize(weight, scales, biases, packing.group_size, packing.bits))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _is_beside(self, name: str) -> bool:
        """Whether these are numbers that a packed matrix is expanded with."""
        path, _, part = name.rpartition(".")
        return path in self._packings and part != "weight"
