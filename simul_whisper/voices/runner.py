"""A voice's graph in ONNX Runtime, on the CPU."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from simul_whisper.errors import VoiceError, WeightsError
from simul_whisper.foreign_files import one_line

_MOST_THREADS = 4
# Below what it says itself of a damaged file, for that is our error to tell.
_SILENT = 4


class Runner:
    """model: an ONNX file. name: what an error calls it. Raises WeightsError where it cannot be loaded."""

    def __init__(self, model: bytes, name: str) -> None:
        options = onnxruntime.SessionOptions()
        n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        options.intra_op_num_threads = min(n_cpus, _MOST_THREADS)
        # Threads that wait spinning would take the cores from recognition.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Either would keep memory for each length of text.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = _SILENT
        self._name = name
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a type for each status, below Exception.
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
