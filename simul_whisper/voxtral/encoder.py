"""Voxtral's encoder and projector in MLX: they run everywhere, fast on Apple's GPUs."""

import numpy as np

from simul_whisper.blas import mx
from simul_whisper.encoders import Features
from simul_whisper.mel import Mel
from simul_whisper.network import Encoder
from simul_whisper.parameters import resolved_device
from simul_whisper.voxtral.checkpoint import VoxtralWeights
from simul_whisper.voxtral.loading import Numbers, fill
from simul_whisper.voxtral.network import Projector


class MlxVoxtralEncoder:
    """An `AudioEncoder` whose features are positions of the language model, one for each `downsample` frames.

    In float16 on a GPU, float32 on the CPU, whatever the checkpoint has: a window is whole matrices, which fewer bits
    make no faster, and an eighth of the model.
    """

    def __init__(self, weights: VoxtralWeights, device: str = "auto") -> None:
        device = resolved_device(device)
        self._mx_device = mx.Device(mx.gpu if device == "gpu" else mx.cpu)
        self._dtype = mx.float16 if device == "gpu" else mx.float32
        with mx.stream(self._mx_device):
            self._encoder, self._projector = Encoder(weights.dims.whisper), Projector(weights.dims)
            for network, prefix in ((self._encoder, "encoder."), (self._projector, "projector.")):
                fill(network, weights, prefix, Numbers(self._dtype, unpacks=True))
        self.description = f"mlx ({'float16' if device == 'gpu' else 'float32'}, {device})"

    def encode(self, mel: Mel) -> Features:
        """mel: of a window of 30 s. Returns (n_audio_tokens, n_text_state)."""
        with mx.stream(self._mx_device):
            columns = mx.array(mel.columns.T)[None].astype(self._dtype)
            features = self._projector(self._encoder(columns))[0].astype(mx.float32)
            mx.eval(features)
        return np.array(features)
