"""The encoder in MLX: runs everywhere, fast on Apple GPUs."""

from collections.abc import Sequence

import numpy as np

from simul_whisper.blas import mx
from simul_whisper.encoders import MOST_TOGETHER, Features
from simul_whisper.mel import Mel
from simul_whisper.network import Encoder
from simul_whisper.parameters import load_parameters, resolved_device
from simul_whisper.weights.model import Weights


class MlxEncoder:
    """Whisper's encoder; float16 on a GPU, float32 on the CPU."""

    def __init__(
        self, weights: Weights, device: str = "auto", quantization: str = "auto", *, fallback_to_float16: bool = True
    ) -> None:
        device = resolved_device(device)
        self._mx_device = mx.Device(mx.gpu if device == "gpu" else mx.cpu)
        with mx.stream(self._mx_device):
            self._network = Encoder(weights.dims)
            loaded = load_parameters(
                self._network, weights, "encoder.", device, quantization, fallback_to_float16=fallback_to_float16
            )
        self._dtype = loaded.dtype
        self.most_together = MOST_TOGETHER if device == "gpu" else 1
        self.description = f"mlx ({loaded.description}, {device})"

    def encode(self, mel: Mel) -> Features:
        return self.encode_together([mel])[0]

    def encode_together(self, mels: Sequence[Mel]) -> list[Features]:
        columns = mx.array(np.stack([mel.columns.T for mel in mels]))
        with mx.stream(self._mx_device):
            features = self._network(columns.astype(self._dtype)).astype(mx.float32)
            mx.eval(features)
        return list(np.array(features))
