"""A voice's graph in ONNX Runtime, on the CPU."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.errors import VoiceError, WeightsError
from simul_whisper.foreign_files import one_line
from simul_whisper.onnx_session import open_session


class Runner:
    """model: an ONNX file. name: what an error calls it. Raises WeightsError where it cannot be loaded."""

    def __init__(self, model: bytes, name: str) -> None:
        self._name = name
        try:
            self._session = open_session(model)
        except Exception as error:
            raise WeightsError(f"{name}: ONNX Runtime cannot load it: {one_line(error)}") from error

    @property
    def inputs(self) -> dict[str, str]:
        """Name -> type, such as tensor(float)."""
        return {each.name: each.type for each in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the first output. Raises VoiceError."""
        try:
            found: NDArray[np.float32] = self._session.run(None, dict(inputs))[0]
        except Exception as error:
            raise VoiceError(f"{self._name}: ONNX Runtime cannot run it: {one_line(error)}") from error
        return found
