"""What faster-whisper hears of a whole recording, greedily and in int8: the bound of streaming with the same weights.

Our own decoding of a whole recording shares faults with our streaming, and loses sentences that streaming has.
"""

import numpy as np
from numpy.typing import NDArray

from simul_whisper import AlignAttConfig, BackendError, model_directory

try:
    from faster_whisper import WhisperModel
except ImportError as error:
    raise BackendError("faster-whisper is not there; install it with: pip install faster-whisper") from error

# It samples where greedy decoding fails; we do not.
_GREEDY = {"beam_size": 1, "temperature": 0.0, "vad_filter": False}


class FasterWhisper:
    """faster-whisper with the weights of a config. Raises BackendError for weights that it cannot load."""

    def __init__(self, config: AlignAttConfig) -> None:
        directory = model_directory(config.model_path or config.model_name)
        # Without the second it would look for one on the hub.
        for name in ("model.bin", "tokenizer.json"):
            if not (directory / name).is_file():
                raise BackendError(f"faster-whisper does not load {directory}: it has no {name}")
        try:
            self._model = WhisperModel(str(directory), device="cpu", compute_type="int8")
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"faster-whisper does not load {directory}: {error}") from error
        self._task = config.task

    def text(self, samples: NDArray[np.float32], language: str) -> str:
        """Return the text of float32 (n,) mono 16 kHz; language: "auto" to detect it."""
        known = None if language == "auto" else language
        segments, _ = self._model.transcribe(samples, language=known, task=self._task, **_GREEDY)
        return "".join(segment.text for segment in segments).strip()
