"""The text decoder in MLX: runs everywhere, fast on GPUs and Macs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simul_whisper.blas import mx
from simul_whisper.decoders import Step, parted
from simul_whisper.encoders import MOST_TOGETHER, Features
from simul_whisper.network import Cache, Decoder, KeysValues, TextRows
from simul_whisper.parameters import load_parameters, resolved_device
from simul_whisper.weights.model import Head, Weights


@dataclass
class MlxState:
    """Caches of one window: audio keys and values per layer, shared by all beams, and the text's own."""

    audio: list[KeysValues]
    text: list[Cache]


class MlxDecoder:
    """Whisper's decoder in MLX: float16 on a GPU, float32 on the CPU, where half precision is slower."""

    def __init__(
        self, weights: Weights, device: str = "auto", quantization: str = "auto", *, fallback_to_float16: bool = True
    ) -> None:
        self.device = resolved_device(device)
        self._mx_device = mx.Device(mx.gpu if self.device == "gpu" else mx.cpu)
        self._heads: tuple[Head, ...] = weights.alignment_heads
        with mx.stream(self._mx_device):
            self._network = Decoder(weights.dims)
            loaded = load_parameters(
                self._network, weights, "decoder.", self.device, quantization, fallback_to_float16=fallback_to_float16
            )
        self._dtype = loaded.dtype
        self.most_together = MOST_TOGETHER
        self.description = f"mlx ({loaded.description}, {self.device})"

    def begin(self, features: Features) -> MlxState:
        with mx.stream(self._mx_device):
            audio = self._network.audio_keys_values(mx.array(features)[None].astype(self._dtype))
            return MlxState(audio, [Cache() for _ in audio])

    def step(self, state: MlxState, tokens: Sequence[Sequence[int]], logits_at: Sequence[int] = (-1,)) -> Step:
        return self.step_together([state], [tokens], [logits_at])[0]

    def step_together(
        self,
        states: Sequence[MlxState],
        tokens: Sequence[Sequence[Sequence[int]]],
        logits_at: Sequence[Sequence[int]],
    ) -> list[Step]:
        """As `step`, for each, of any shapes: a step waits for its weights, and they come from memory once for all."""
        lengths = [state.text[0].length for state in states]
        try:
            return self._read(states, tokens, logits_at)
        except Exception:
            for state, length in zip(states, lengths, strict=True):
                for cache in state.text:
                    cache.length = length
            raise

    def _read(
        self,
        states: Sequence[MlxState],
        tokens: Sequence[Sequence[Sequence[int]]],
        logits_at: Sequence[Sequence[int]],
    ) -> list[Step]:
        with mx.stream(self._mx_device):
            read = self._network.together([_rows(*each) for each in zip(states, tokens, strict=True)], self._heads)
            asked = [
                hidden[:, mx.array([place % hidden.shape[1] for place in places])]
                for (hidden, _), places in zip(read, logits_at, strict=True)
            ]
            logits = self._network.logits(mx.concatenate([each.reshape(-1, each.shape[-1]) for each in asked]))
            logits, attention = logits.astype(mx.float32), [looks.astype(mx.float32) for _, looks in read]
            mx.eval(logits, attention)
        found = parted(np.array(logits), [each.shape[:2] for each in asked])
        return [Step(rows, np.array(looks)) for rows, looks in zip(found, attention, strict=True)]

    def select(self, state: MlxState, beams: Sequence[int], length: int | None = None) -> None:
        with mx.stream(self._mx_device):
            for cache in state.text:
                cache.select(mx.array(list(beams)))
                cache.length = cache.length if length is None else length


def _rows(state: MlxState, tokens: Sequence[Sequence[int]]) -> TextRows:
    return TextRows(mx.array([list(beam) for beam in tokens]), state.text, state.audio)
