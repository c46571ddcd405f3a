"""Predictions of a Core ML decoder, checked: all that is read is there, in its shape, and finite."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simul_whisper.coreml.runtime import CoreMLModel, CoreMLState
from simul_whisper.errors import CoreMLInferenceError

Array = NDArray[Any]


@dataclass(frozen=True)
class Predictor:
    """A function of an opened model. shapes: of the outputs that are read, by name."""

    model: CoreMLModel
    shapes: Mapping[str, tuple[int, ...]]

    def run(self, inputs: dict[str, Array], state: CoreMLState | None = None) -> dict[str, Array]:
        """Return the outputs, in the model's number type. Raises CoreMLInferenceError."""
        try:
            answer = self.model.predict(inputs, state)
        # What coremltools raises is documented nowhere.
        except Exception as error:
            raise CoreMLInferenceError(f"Core ML failed in the decoder: {error}") from error
        for name, shape in self.shapes.items():
            if name not in answer:
                raise CoreMLInferenceError(f"the Core ML decoder gave no {name}, but {', '.join(answer) or 'nothing'}")
            if answer[name].shape != shape:
                raise CoreMLInferenceError(f"the Core ML decoder gave {name} {answer[name].shape}, expected {shape}")
        return answer


def finite(name: str, array: Array) -> NDArray[np.float32]:
    """Return a copy in float32. Raises CoreMLInferenceError when a number is NaN or infinite."""
    numbers = np.array(array, np.float32)
    if not np.isfinite(numbers).all():
        raise CoreMLInferenceError(f"the Core ML decoder gave {name} with numbers that are NaN or infinite")
    return numbers
